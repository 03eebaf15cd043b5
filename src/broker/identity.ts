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
