import { lookup } from "node:dns/promises";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { orAbort } from "../core/deadline.ts";
import { Fault } from "../core/fault.ts";
import { type Endpoint, formatEndpoint, parseEndpoint } from "../wire/endpoint.ts";
import { contains, subnets } from "./reach.ts";

/**
 * Addresses that no peer of ours can have, so that an endpoint which names one is a mistake or an
 * attack: link-local (cloud metadata services live there), unspecified, multicast and broadcast.
 * Private and loopback ranges stay allowed, since brokers do run inside an organisation.
 */
const NEVER_DIALLED = subnets([
  "0.0.0.0/8",
  "169.254.0.0/16",
  "224.0.0.0/3",
  "fe80::/10",
  "ff00::/8",
  "::/128",
  "fd00:ec2::254/128",
]);

/**
 * The address behind `host:port`: resolved once, checked, and then used as it is, so that a name
 * cannot change its meaning between the check and the dial. IPv4 is preferred, because `localhost`
 * listeners are on 127.0.0.1 (eps-protocol 13).
 */
export async function resolveEndpoint(text: string): Promise<Endpoint> {
  const { host, port } = parseEndpoint(text);
  const found = await lookup(host, { all: true }).catch((cause) => {
    throw new Fault("unreachable", `the name of ${text} does not resolve`, { cause });
  });
  const address = (found.find(({ family }) => family === 4) ?? found[0])?.address;
  if (!address) throw new Fault("unreachable", `the name of ${text} does not resolve`);
  if (contains(NEVER_DIALLED, address)) {
    throw new Fault("forbidden", `${text} is an address that is never dialled`);
  }
  return { host: address, port };
}

/** Connects by TCP. The socket is half-open capable and the caller's to close. */
export async function dial(endpoint: string, signal: AbortSignal): Promise<Socket> {
  const { host, port } = await orAbort(resolveEndpoint(endpoint), signal);
  const socket = connect({ host, port, allowHalfOpen: true, noDelay: true, keepAlive: true });
  try {
    await once(socket, "connect", { signal });
    return socket;
  } catch (cause) {
    socket.on("error", () => {}).destroy();
    if (signal.aborted) throw signal.reason;
    const where = formatEndpoint({ host, port });
    throw new Fault("unreachable", `nobody answers at ${endpoint} (${where})`, { cause });
  }
}
