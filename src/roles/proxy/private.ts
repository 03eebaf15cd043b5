import { Circuits } from "../../relay/circuits.ts";
import { openEngine } from "../../relay/open-engine.ts";
import { JsonrpcClient } from "../../rpc/jsonrpc/client.ts";
import { openJsonrpcServer } from "../../rpc/jsonrpc/server.ts";
import { answerFrom } from "../../rpc/methods.ts";
import { openStore } from "../../store/open.ts";
import { Announcements, PRIVATE, watchAnnouncements } from "./announcements.ts";
import { answersPing } from "./own-endpoint.ts";
import { PrivateBroker } from "./private-broker.ts";
import type { Playing, Stage } from "./roles.ts";
import type { PrivateProxySettings } from "./settings.ts";
import { openTarget } from "./targets.ts";

/** What a circuit to an internal service may cost; the public proxy has limits of its own before. */
const CIRCUITS = {
  circuits_max: 10_000,
  idle_timeout_ms: 3_600_000,
  circuit_bytes_max: Infinity,
  circuit_duration_max_ms: Infinity,
  drain_timeout_ms: 5_000,
};

/** The private proxy: it announces domains at public proxies and fetches what comes for them. */
export async function openPrivateProxy(
  settings: PrivateProxySettings,
  stage: Stage,
): Promise<Playing> {
  const { log, metrics, events, rpc, scope } = stage;
  const { name } = settings;
  const engine = scope.use(await openEngine(settings.splice, { log }));
  const circuits = scope.use(new Circuits(CIRCUITS, { engine, events }));
  const store = scope.use(await openStore(settings.datastore, { log }));
  const announcements = await Announcements.open(PRIVATE, store, { log });
  watchAnnouncements(metrics, announcements);
  const eps = scope.use(await JsonrpcClient.open(settings.jsonrpc_client, { log }));
  const target = scope.use(await openTarget(settings, { engine, circuits, rpc, log }));
  const announce_again_ms = settings.announce_again * 1_000;
  const deps = { name, announcements, eps, target, announce_again_ms, log };
  const broker = new PrivateBroker(deps);
  const { methods } = broker;
  scope.use(
    await openJsonrpcServer(settings.jsonrpc_server, {
      serve: (request, gone) => answerFrom(methods, request, gone),
      log,
      told: { events: rpc, listener: "proxy" },
      setting: "private: jsonrpc_server: bind_address",
    }),
  );
  stage.check("endpoint", answersPing(eps, name));
  stage.check("announcements", () => broker.whyUnannounced);
  const announcing = broker.keepAnnouncing(scope.signal);
  scope.defer(() => announcing);
  const known = announcements.list().length;
  return { ready: { operator: name, announcements: known, splice: engine.name } };
}
