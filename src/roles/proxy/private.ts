import { aborted } from "../../core/deadline.ts";
import type { Log } from "../../core/log.ts";
import { Scope } from "../../core/scope.ts";
import { Circuits } from "../../relay/circuits.ts";
import { JsonrpcClient } from "../../rpc/jsonrpc/client.ts";
import { openJsonrpcServer } from "../../rpc/jsonrpc/server.ts";
import { answerFrom } from "../../rpc/methods.ts";
import { openMetricsServer } from "../../rpc/metrics-server.ts";
import { openStore } from "../../store/open.ts";
import { Announcements, PRIVATE } from "./announcements.ts";
import { PrivateBroker } from "./private-broker.ts";
import type { PrivateProxySettings, ProxySettings } from "./settings.ts";
import { openTarget } from "./targets.ts";

/** What a circuit to an internal service may cost; the public proxy has limits of its own before. */
const CIRCUITS = { circuits_max: 10_000, idle_timeout_ms: 3_600_000, drain_timeout_ms: 5_000 };

/** The private proxy: it announces domains at public proxies and fetches what comes for them. */
export async function runPrivateProxy(
  settings: PrivateProxySettings,
  { log, metrics }: { log: Log; metrics?: ProxySettings["metrics"] },
  signal: AbortSignal,
): Promise<void> {
  await using scope = new Scope(signal);
  const { name } = settings;
  const circuits = scope.use(new Circuits(CIRCUITS, { log }));
  const store = scope.use(await openStore(settings.datastore, { log }));
  const announcements = await Announcements.open(PRIVATE, store, { log });
  const eps = scope.use(await JsonrpcClient.open(settings.jsonrpc_client));
  const target = scope.use(await openTarget(settings, { circuits, log }));
  const announce_again_ms = settings.announce_again * 1_000;
  const deps = { name, announcements, eps, target, announce_again_ms, log };
  const broker = new PrivateBroker(deps);
  const { methods } = broker;
  scope.use(
    await openJsonrpcServer(settings.jsonrpc_server, {
      serve: (request, gone) => answerFrom(methods, request, gone),
      log,
      setting: "private: jsonrpc_server: bind_address",
    }),
  );
  const announcing = broker.keepAnnouncing(scope.signal);
  scope.defer(() => announcing);
  if (metrics) scope.use(await openMetricsServer(metrics));
  log.info({ operator: name, announcements: announcements.list().length }, "ready");
  await aborted(scope.signal);
  log.info("stopping");
}
