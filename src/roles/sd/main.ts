import { aborted } from "../../core/deadline.ts";
import type { Log } from "../../core/log.ts";
import { Scope } from "../../core/scope.ts";
import { openTrust } from "../../directory/certificates.ts";
import { openJsonrpcServer } from "../../rpc/jsonrpc/server.ts";
import { answerFrom } from "../../rpc/methods.ts";
import { openStore } from "../../store/open.ts";
import { sdMethods } from "./methods.ts";
import { Registry } from "./registry.ts";
import type { SdSettings } from "./settings.ts";

/** A service directory: signed records in a store, served over JSON-RPC. */
export async function runDirectory(
  { jsonrpc_server, directory }: SdSettings,
  { log }: { log: Log },
  signal: AbortSignal,
): Promise<void> {
  await using scope = new Scope(signal);
  const trust = await openTrust(
    directory.ca_certificate_files,
    directory.ca_intermediate_certificate_files,
  );
  const store = scope.use(await openStore(directory.datastore, { log }));
  const registry = await Registry.open(store, { trust, log });
  const methods = sdMethods(registry);
  scope.use(
    await openJsonrpcServer(jsonrpc_server, {
      serve: (request, gone) => answerFrom(methods, request, gone),
      log,
      setting: "jsonrpc_server: bind_address",
    }),
  );
  // Closed before the server, so that nobody who waits for news keeps it from closing.
  scope.defer(() => registry.wakeAll());
  log.info({ records: registry.ledger.records.length }, "ready");
  await aborted(scope.signal);
  log.info("stopping");
}
