import { BlockList, isIP } from "node:net";
import { unmapped } from "./source.ts";

/** How far an address is meant to be reached from: its own machine, its own network, anywhere. */
const REACHES = ["loopback", "private", "public"] as const;
type Reach = (typeof REACHES)[number];

const LOOPBACK = subnets(["127.0.0.0/8", "::1/128"]);
/** RFC 1918, 6598 and 4193. */
const PRIVATE = subnets([
  "10.0.0.0/8",
  "172.16.0.0/12",
  "192.168.0.0/16",
  "100.64.0.0/10",
  "169.254.0.0/16",
  "fc00::/7",
  "fe80::/10",
]);

export function reachOf(address: string): Reach {
  if (contains(LOOPBACK, address)) return "loopback";
  return contains(PRIVATE, address) ? "private" : "public";
}

/** May somebody at `from` be helped to an address that is meant for `to`? Nobody gets further in than he is. */
export function mayReach(from: Reach, to: Reach): boolean {
  return REACHES.indexOf(to) >= REACHES.indexOf(from);
}

/** `address` or `address/bits`, as a list of one; undefined if it is neither. */
export function subnetOf(text: string): BlockList | undefined {
  const [, address = "", bits] = /^([\da-fA-F.:]+)(?:\/(\d{1,3}))?$/.exec(text) ?? [];
  const size = isIP(address) === 4 ? 32 : 128;
  if (isIP(address) === 0 || Number(bits ?? size) > size) return undefined;
  return subnets([`${address}/${bits ?? size}`]);
}

export function contains(list: BlockList, address: string): boolean {
  const plain = unmapped(address);
  const version = isIP(plain);
  return version !== 0 && list.check(plain, version === 4 ? "ipv4" : "ipv6");
}

/** A list of networks, each as `address/bits`. */
export function subnets(texts: readonly string[]): BlockList {
  const list = new BlockList();
  for (const text of texts) {
    const [address = "", bits] = text.split("/");
    list.addSubnet(address, Number(bits), isIP(address) === 4 ? "ipv4" : "ipv6");
  }
  return list;
}
