import type { WebSocket } from "ws";
import type { Endpoint } from "../../wire/endpoint.ts";
import { Link } from "./link.ts";
import { openMessages } from "./messages.ts";
import { openStreams } from "./streams.ts";
import type { Tunnel, TunnelDeps, TunnelOptions } from "./tunnel.ts";

/** What the versions of a tunnel are called in the handshake, best first. None at all is the first. */
const PROTOCOLS = ["west.v2", "west.v1"];

/** Those that may be spoken, best first. */
export function protocolsUpTo(version_max: number): string[] {
  return PROTOCOLS.slice(PROTOCOLS.length - version_max);
}

/** How every WebSocket of ours reads: messages of version 1 are bytes that are called text. */
export const READING = { skipUTF8Validation: true, perMessageDeflate: false } as const;

/** Where the site of a `ws://` or `wss://` address is dialled. */
export function endpointOf(url: string): Endpoint {
  const { hostname, port, protocol } = new URL(url);
  const host = hostname.replace(/^\[|\]$/g, "");
  return { host, port: Number(port || (protocol === "wss:" ? 443 : 80)) };
}

export type TunnelSettings = Pick<TunnelOptions, "streams_max" | "message_max" | "timeout_ms"> & {
  ping_interval_ms: number;
  version_max: number;
};

/** Speaks the version that the handshake came to. The WebSocket, which may have been paused, is the tunnel's from here on. */
export function openTunnel(
  socket: WebSocket,
  options: TunnelSettings & Pick<TunnelOptions, "name" | "dialled"> & { remote: Endpoint },
  deps: TunnelDeps,
): Tunnel {
  const link = new Link(socket, { ...options, answersPings: socket.protocol !== "" });
  const open = socket.protocol === PROTOCOLS[0] ? openStreams : openMessages;
  void link.closed.then(() => deps[Symbol.asyncDispose]());
  const tunnel = open(link, options, deps);
  socket.resume();
  return tunnel;
}
