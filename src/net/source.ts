import { isIPv6, type Socket } from "node:net";
import type { Duplex } from "node:stream";

/**
 * Who a connection counts as for limits per source: an IPv4 address, or the /64 of an IPv6 one,
 * since whoever has one address of a /64 has them all.
 */
export function sourceOf(address: string | undefined): string {
  if (!address) return "unknown";
  const plain = unmapped(address);
  if (!isIPv6(plain)) return plain;
  const [head = "", tail = ""] = plain.replace(/%.*$/, "").split("::");
  const groups = head ? head.split(":") : [];
  const after = tail ? tail.split(":") : [];
  while (groups.length + after.length < 8) groups.push("0");
  return `${[...groups, ...after].slice(0, 4).join(":")}::/64`;
}

/** The IPv4 address in an IPv6 one that only wraps it, as sockets for both tell it; any other as it is. */
export function unmapped(address: string): string {
  return /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1] ?? address;
}

/** What tells a connection from all others, and is the same for TLS and HTTP/2 above it. */
export function connectionOf(socket: Duplex): string {
  const { remoteAddress, remotePort, localAddress, localPort } = socket as Partial<Socket>;
  return `${remoteAddress} ${remotePort} ${localAddress} ${localPort}`;
}

/** Counts what each source holds at the moment; a source that holds nothing costs nothing. */
export class Holdings {
  readonly #held = new Map<string, number>();
  readonly #max: number;

  constructor(max: number) {
    this.#max = max;
  }

  /** Takes one more for this source, unless it already holds its share, which may be another each time. */
  take(source: string, max = this.#max): boolean {
    const held = this.#held.get(source) ?? 0;
    if (held >= max) return false;
    this.#held.set(source, held + 1);
    return true;
  }

  release(source: string): void {
    const held = (this.#held.get(source) ?? 0) - 1;
    if (held > 0) this.#held.set(source, held);
    else this.#held.delete(source);
  }
}
