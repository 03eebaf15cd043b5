import { aborted } from "../../core/deadline.ts";
import type { Log } from "../../core/log.ts";
import type { Metrics } from "../../core/metrics.ts";
import { Scope } from "../../core/scope.ts";
import { openTrust } from "../../directory/certificates.ts";
import { RpcEvents } from "../../rpc/events.ts";
import { openJsonrpcServer } from "../../rpc/jsonrpc/server.ts";
import { answerFrom } from "../../rpc/methods.ts";
import { Readiness } from "../../rpc/readiness.ts";
import { openStatusServer } from "../../rpc/status-server.ts";
import { openStore } from "../../store/open.ts";
import { SdEvents } from "./events.ts";
import { sdMethods } from "./methods.ts";
import { Registry } from "./registry.ts";
import type { SdSettings } from "./settings.ts";

/** A service directory: signed records in a store, served over JSON-RPC. */
export async function runDirectory(
  { jsonrpc_server, directory, metrics: status = directory.metrics }: SdSettings,
  { log, metrics }: { log: Log; metrics: Metrics },
  signal: AbortSignal,
): Promise<void> {
  await using scope = new Scope(signal);
  const readiness = new Readiness(scope.signal);
  if (status) scope.use(await openStatusServer(status, { metrics, readiness }));
  const trust = await openTrust(
    directory.ca_certificate_files,
    directory.ca_intermediate_certificate_files,
  );
  const store = scope.use(await openStore(directory.datastore, { log }));
  const registry = await Registry.open(store, { trust, log });
  const methods = sdMethods(registry, { events: new SdEvents({ metrics, registry }) });
  readiness.add("store", () => registry.whyUnwritten);
  scope.use(
    await openJsonrpcServer(jsonrpc_server, {
      serve: (request, gone) => answerFrom(methods, request, gone),
      log,
      told: { events: new RpcEvents({ log, metrics }), listener: "sd" },
      setting: "jsonrpc_server: bind_address",
    }),
  );
  // Closed before the server, so that nobody who waits for news keeps it from closing.
  scope.defer(() => registry.wakeAll());
  readiness.opened();
  log.info({ records: registry.ledger.records.length }, "ready");
  await aborted(scope.signal);
  log.info("stopping");
}
