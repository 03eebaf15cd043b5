import { normalize } from "node:path";
import { attempt, type Findings } from "../../../../core/findings.ts";
import { checkTls, type TlsUse } from "../../../../net/check-tls.ts";
import { leafIn } from "../../../../net/knock.ts";
import type { TlsSettings } from "../../../../net/settings.ts";
import type { EpsSettings } from "../../settings.ts";
import { signerFor } from "../sign.ts";
import { checkDirectory } from "./directory.ts";
import { type Certificate, checkOwnEntry } from "./own-entry.ts";
import { checkReach } from "./reach.ts";

/** Everything that an endpoint needs to work, from its files outwards. Starts and changes nothing. */
export async function* checkEndpoint(settings: EpsSettings, signal: AbortSignal): Findings {
  const uses = tlsUses(settings);
  for (const use of uses) yield* checkTls({ ...use, name: settings.name });
  if (settings.signing) {
    const { certificate_file } = settings.signing;
    yield await attempt(
      "certificates",
      `${normalize(certificate_file ?? "")} can sign for ${settings.name}`,
      "Correct the files named in signing; without them everything works but `eps sd submit-records`.",
      () => signerFor(settings),
    );
  }
  const entries = yield* checkDirectory(settings.directory, signal);
  if (!entries) return;
  yield* checkOwnEntry(settings, { entries, certificates: await certificatesOf(uses) });
  yield* checkReach(settings, entries, signal);
}

/** The same files in several places are looked at once. */
function tlsUses({ channels, directory }: EpsSettings): TlsUse[] {
  const uses = new Map<string, TlsUse>();
  const add = (tls: TlsSettings | undefined, where: string, plays: TlsUse["plays"]): void => {
    if (!tls) return;
    const key = JSON.stringify([tls, plays]);
    const known = uses.get(key);
    uses.set(key, known ? { ...known, where: `${known.where}, ${where}` } : { tls, where, plays });
  };
  for (const { type, settings } of channels) {
    if (type === "grpc_server" || type === "jsonrpc_server") add(settings.tls, type, "server");
    if (type === "grpc_client" || type === "jsonrpc_client") add(settings.tls, type, "client");
  }
  if (directory.type === "api") add(directory.settings.jsonrpc_client.tls, "directory", "client");
  return [...uses.values()];
}

/** Those which peers see; a file that cannot be read has been complained of already. */
async function certificatesOf(uses: readonly TlsUse[]): Promise<Certificate[]> {
  const files = uses
    .filter(({ where }) => /grpc_(server|client)/.test(where))
    .flatMap(({ tls }) => tls.certificate_file ?? []);
  const read = [...new Set(files)].map(async (file) => {
    const leaf = await leafIn(file).catch(() => undefined);
    return leaf ? [{ file: normalize(file), fingerprint: leaf.fingerprint }] : [];
  });
  return (await Promise.all(read)).flat();
}
