import { attempt, type Findings } from "../../core/findings.ts";
import { openTrust } from "../../directory/certificates.ts";
import { checkTls } from "../../net/check-tls.ts";
import { checkOwnServer } from "../../rpc/jsonrpc/check-own.ts";
import { checkStore } from "../../store/check.ts";
import type { SdSettings } from "./settings.ts";

/** Everything that a service directory needs to work. Starts and changes nothing. */
export async function* checkSd(
  { jsonrpc_server, directory }: SdSettings,
  signal: AbortSignal,
): Findings {
  const { tls } = jsonrpc_server;
  if (tls) yield* checkTls({ tls, where: "jsonrpc_server", plays: "server" });
  yield await attempt(
    "certificates",
    "the authorities of signers can be read",
    "Correct directory: ca_certificate_files and ca_intermediate_certificate_files.",
    () => openTrust(directory.ca_certificate_files, directory.ca_intermediate_certificate_files),
  );
  yield await checkStore(directory.datastore);
  yield await checkOwnServer(jsonrpc_server, { method: "getTip", start: "sd run" }, signal);
}
