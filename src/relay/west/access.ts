import { isSameSecret } from "../../core/secret.ts";
import { contains, mayReach, reachOf, subnetOf } from "../../net/reach.ts";
import type { Leaf } from "../../net/tls.ts";

const FINGERPRINT = /^sha256:([\da-f]{64})$/i;

/** An IP address, a CIDR, a name with `*` for any part of it, or a certificate as `sha256:` and its fingerprint. */
export function isCaEntry(text: string, mayName: boolean): boolean {
  if (subnetOf(text) || FINGERPRINT.test(text)) return true;
  return mayName && /^wss?:\/\/[^\s/]+$/.test(text);
}

type Who = { address: string; name?: string; leaf?: Leaf | undefined };

/** Is somebody on the list? An empty one lets everybody in. */
export function isListed(ca: readonly string[], { address, name, leaf }: Who): boolean {
  if (ca.length === 0) return true;
  return ca.some((entry) => {
    const subnet = subnetOf(entry);
    if (subnet) return contains(subnet, address);
    const [, fingerprint] = FINGERPRINT.exec(entry) ?? [];
    if (fingerprint) return leaf?.fingerprint === fingerprint.toLowerCase();
    return name !== undefined && fits(entry, name);
  });
}

function fits(pattern: string, name: string): boolean {
  const parts = pattern.split("*").map((part) => part.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&"));
  return new RegExp(`^${parts.join("[^/]*")}$`, "i").test(name);
}

/** Does a certificate or a token prove that a name is its own? */
export function proves(
  name: string,
  { leaf, token }: { leaf: Leaf | undefined; token: string | undefined },
  expected: string | undefined,
): boolean {
  const host = name.replace(/^wss?:\/\//, "").replace(/[:/].*$/, "");
  if (leaf?.names.some((each) => each.toLowerCase() === host.toLowerCase())) return true;
  return expected !== undefined && token !== undefined && isSameSecret(token, expected);
}

/** What one tunnel may ask of us. */
export type Targets = {
  /** These and nothing else: hosts, `host:port`, addresses, CIDRs, or `*`. */
  listed: readonly string[] | undefined;
  /** Where the other side is, if nothing has proved who it is; else undefined. */
  from: string | undefined;
};

/**
 * May a tunnel ask for a server? Without a list a site that has proved its name, or that we dialled, may
 * ask for all that we can reach; a stranger only for what is as open to the world as he is himself.
 */
export function mayFetch(
  { listed, from }: Targets,
  { host, port, address }: { host: string; port: number; address: string },
): boolean {
  if (listed) return listed.some((entry) => names(entry, { host, port, address }));
  return from === undefined || mayReach(reachOf(from), reachOf(address));
}

export function isTarget(text: string): boolean {
  return text === "*" || subnetOf(text) !== undefined || HOST.test(text);
}

const HOST = /^(\[[\da-fA-F:.]+\]|[^\s:/[\]]+)(?::(\d{1,5}))?$/;

function names(
  entry: string,
  { host, port, address }: { host: string; port: number; address: string },
): boolean {
  if (entry === "*") return true;
  const subnet = subnetOf(entry);
  if (subnet) return contains(subnet, address);
  const [, name = "", number] = HOST.exec(entry) ?? [];
  const bare = name.replace(/^\[|\]$/g, "").toLowerCase();
  if (number !== undefined && Number(number) !== port) return false;
  const network = subnetOf(bare);
  return network ? contains(network, address) : bare === host.toLowerCase();
}
