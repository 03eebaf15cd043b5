import { aborted } from "../../core/deadline.ts";
import type { Log } from "../../core/log.ts";
import type { Metrics } from "../../core/metrics.ts";
import { Scope } from "../../core/scope.ts";
import { Circuits } from "../../relay/circuits.ts";
import { RelayEvents } from "../../relay/events.ts";
import { openEngine } from "../../relay/open-engine.ts";
import { RpcEvents } from "../../rpc/events.ts";
import { JsonrpcClient } from "../../rpc/jsonrpc/client.ts";
import { openJsonrpcServer } from "../../rpc/jsonrpc/server.ts";
import { answerFrom } from "../../rpc/methods.ts";
import { Readiness } from "../../rpc/readiness.ts";
import { openStatusServer } from "../../rpc/status-server.ts";
import { openStore } from "../../store/open.ts";
import { Announcements, PRIVATE, watchAnnouncements } from "./announcements.ts";
import { answersPing } from "./own-endpoint.ts";
import { PrivateBroker } from "./private-broker.ts";
import type { PrivateProxySettings, ProxySettings } from "./settings.ts";
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
export async function runPrivateProxy(
  settings: PrivateProxySettings,
  { log, metrics, status }: { log: Log; metrics: Metrics; status?: ProxySettings["metrics"] },
  signal: AbortSignal,
): Promise<void> {
  await using scope = new Scope(signal);
  const events = new RelayEvents({ log, metrics });
  const rpc = new RpcEvents({ log, metrics });
  const readiness = new Readiness(scope.signal);
  if (status) scope.use(await openStatusServer(status, { metrics, readiness }));
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
  readiness.add("endpoint", answersPing(eps, name));
  readiness.add("announcements", () => broker.whyUnannounced);
  const announcing = broker.keepAnnouncing(scope.signal);
  scope.defer(() => announcing);
  readiness.opened();
  const known = announcements.list().length;
  log.info({ operator: name, announcements: known, splice: engine.name }, "ready");
  await aborted(scope.signal);
  log.info("stopping");
}
