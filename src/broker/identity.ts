import { Deadline } from "../core/deadline.ts";
import { Fault } from "../core/fault.ts";
import type { Directory } from "../directory/directory.ts";
import type { Leaf } from "../net/tls.ts";

/**
 * The operators whose certificate this is: each name on it whose directory entry pins its
 * fingerprint for encryption (eps-protocol 3.4). Asked anew for every call, so that a certificate
 * that the directory no longer pins is nobody's from that moment.
 */
export function pinnedNames(directory: Directory, leaf: Leaf): string[] {
  return leaf.names.filter((name) =>
    directory
      .entry(name)
      ?.certificates.some(
        ({ key_usage, fingerprint }) =>
          key_usage === "encryption" && fingerprint === leaf.fingerprint,
      ),
  );
}

/** Says why nobody matched, in words that lead to the fix. `claimed` is the name that was asked for. */
export function noMatch(leaf: Leaf, pinned: readonly string[] = [], claimed = ""): string {
  if (pinned.length > 0) {
    return `no matching client: the certificate is pinned for ${pinned.join(", ")}, not for ${claimed}`;
  }
  const names = leaf.names.join(", ") || "no name";
  return `no matching client: the directory pins no certificate ${leaf.fingerprint} for ${names}`;
}

/** How long a caller waits for the first answer of the directory. */
const DIRECTORY_MS = 30_000;

/**
 * Throws unless this certificate may hand in calls of ours: one that the directory pins for our own
 * name, or for one that is allowed (`*` for any). With none pinned for us there is nothing to compare.
 */
export async function refuseForeign(
  leaf: Leaf | undefined,
  { self, allowed }: { self: string; allowed: readonly string[] },
  { directory, signal }: { directory: Directory; signal: AbortSignal },
): Promise<void> {
  if (allowed.includes("*")) return;
  using deadline = new Deadline(DIRECTORY_MS, "the directory", signal);
  await directory.ready(deadline.signal);
  const pins = directory.entry(self)?.certificates ?? [];
  if (!pins.some(({ key_usage }) => key_usage === "encryption")) return;
  const owners = leaf ? pinnedNames(directory, leaf) : [];
  if (owners.some((name) => name === self || allowed.includes(name))) return;
  throw new Fault("forbidden", `${shownBy(leaf, owners)} may not call for ${self}: ${FIX}`);
}

const FIX =
  'show a certificate that the directory pins for that operator, or name another in allowed_clients of the jsonrpc_server channel ("*" for any)';

function shownBy(leaf: Leaf | undefined, owners: readonly string[]): string {
  if (!leaf) return "a client without a certificate";
  const names = leaf.names.join(", ") || "no name";
  const whose =
    owners.length > 0 ? `pinned for ${owners.join(", ")}` : "not pinned in the directory";
  return `the certificate ${leaf.fingerprint} of ${names}, ${whose},`;
}
