import type { Socket } from "zeromq";
import { explain, Fault } from "../../core/fault.ts";
import { parseEndpoint } from "../../wire/endpoint.ts";

export type ZeroMQ = typeof import("zeromq");

/** The domain that our sockets name when they ask who may shake hands (RFC 27). */
export const ZAP_DOMAIN = "switch";

/** What sockets of a switch keep to. */
export type SocketLimits = {
  /** Messages that may wait for one peer. */
  readonly high_water_mark: number;
  /** Bytes of one frame. A peer that sends more is cut off. */
  readonly message_max: number;
  /** How often a silent peer is asked whether it is there, and how long it may take; 0 is never. */
  readonly heartbeat_ms: number;
  readonly heartbeat_timeout_ms: number;
  readonly handshake_timeout_ms: number;
  /** How long what is queued may still go out when the switch closes. */
  readonly drain_timeout_ms: number;
};

/** Who a switch is to those who come from elsewhere. Without it they speak in the clear. */
export type Curve = {
  /** In Z85. */
  readonly secret_key: string;
  /** Whether somebody answers at `ZAP_DOMAIN`, who decides which keys are let in. */
  readonly asks: boolean;
};

/** ZeroMQ is an optional dependency and 30 MB, so nobody loads it who does not need it. */
export async function loadZeromq(): Promise<ZeroMQ> {
  try {
    return await import("zeromq");
  } catch (cause) {
    const message =
      "ZeroMQ is missing: install the package zeromq beside this one (npm install zeromq@6), " +
      `or take the zeromq section out of the settings: ${explain(cause)}`;
    throw new Fault("settings", message, { cause });
  }
}

/**
 * What every socket is opened with. Nothing is ever waited for while sending: a peer that cannot take
 * more is told of instead, because one that is slow must not hold up the others.
 */
export function socketOptions(limits: SocketLimits, curve?: Curve) {
  const { high_water_mark, heartbeat_ms, heartbeat_timeout_ms } = limits;
  return {
    sendTimeout: 0,
    sendHighWaterMark: high_water_mark,
    receiveHighWaterMark: high_water_mark,
    maxMessageSize: limits.message_max,
    handshakeInterval: limits.handshake_timeout_ms,
    linger: limits.drain_timeout_ms,
    ...(heartbeat_ms > 0 && {
      heartbeatInterval: heartbeat_ms,
      heartbeatTimeout: heartbeat_timeout_ms,
    }),
    ...(curve && { curveServer: true, curveSecretKey: curve.secret_key }),
    ...(curve?.asks && { zapDomain: ZAP_DOMAIN }),
  };
}

/** Binds a socket where only this machine can reach it; the port that the kernel chose. */
export async function bindInside(
  socket: Socket & { bind(address: string): Promise<void>; lastEndpoint: string | null },
): Promise<number> {
  await socket.bind("tcp://127.0.0.1:*");
  return parseEndpoint((socket.lastEndpoint ?? "").replace("tcp://", "")).port;
}

/** Did sending fail because nobody is there, or because whoever is there cannot take more? */
export function lossOf(reason: unknown): "unknown" | "full" {
  const { code } = reason as NodeJS.ErrnoException;
  if (code === "EHOSTUNREACH") return "unknown";
  if (code === "EAGAIN") return "full";
  throw reason;
}
