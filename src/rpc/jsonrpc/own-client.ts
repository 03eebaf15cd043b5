import { Fault } from "../../core/fault.ts";
import { leafIn, ownAddress } from "../../net/knock.ts";
import type { JsonrpcServerSettings } from "../settings.ts";
import { JsonrpcClient } from "./client.ts";

/**
 * A client of a JSON-RPC server that runs, or should run, from these settings on this machine. It
 * shows the server's own certificate, which the server accepts as its own operator's.
 */
export async function openOwnClient({
  bind_address,
  path,
  tls,
}: JsonrpcServerSettings): Promise<JsonrpcClient> {
  const endpoint = `${tls ? "https" : "http"}://${ownAddress(bind_address)}${plainPath(path)}`;
  if (!tls) return await JsonrpcClient.open({ endpoint, local: true });
  const leaf = tls.certificate_file ? await leafIn(tls.certificate_file) : undefined;
  const server_name = leaf?.names[0];
  return await JsonrpcClient.open({ endpoint, local: true, tls: { ...tls, server_name } });
}

/** A path that the setting, a regular expression, accepts. */
function plainPath(pattern: string): string {
  const plain = pattern.replace(/^\^|\$$|\\/g, "");
  if (plain.startsWith("/") && new RegExp(`^(?:${pattern})$`).test(plain)) return plain;
  throw new Fault(
    "settings",
    `jsonrpc_server: path is a pattern (${pattern}), so this command cannot know which path to call`,
  );
}
