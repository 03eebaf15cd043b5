import { Agent, type ClientRequestArgs } from "node:http";
import type { Duplex } from "node:stream";
import type { Log } from "../../core/log.ts";
import type { Connection } from "./connection.ts";
import type { Link } from "./link.ts";

/**
 * One WebSocket to another site over which each side asks the other. To whoever asks it is a source of
 * connections that speak HTTP/1.1, each of which the other side serves as if it had accepted it.
 */
export type Tunnel = AsyncDisposable & {
  readonly version: 1 | 2;
  readonly link: Link;
  /** For node:http: its connections lead to the other side. */
  readonly agent: TunnelAgent;
};

export type TunnelOptions = {
  /** What we are called on this tunnel. */
  name: string;
  /** True on the side that dialled it. */
  dialled: boolean;
  streams_max: number;
  message_max: number;
  /** Until an answer begins. */
  timeout_ms: number;
};

/** `accept` serves a connection that the other side has opened. The tunnel closes what serves. */
export type TunnelDeps = AsyncDisposable & { accept(connection: Duplex): void; log: Log };

type Made = (reason: Error | null, connection: Duplex) => void;

/** Connections that are made by `open`, and kept between requests for as long as they live. */
export class TunnelAgent extends Agent {
  readonly open: () => Connection | Promise<Connection>;

  constructor(
    open: () => Connection | Promise<Connection>,
    { keepAlive, max }: { keepAlive: boolean; max: number },
  ) {
    super({ keepAlive, maxSockets: max, maxTotalSockets: max, maxFreeSockets: max });
    this.open = open;
  }

  /** Tells what fails by `made`: node:http also calls this where nobody could catch it. */
  override createConnection(_: ClientRequestArgs, made?: Made): undefined {
    void (async () => this.open())().then(
      (connection) => made?.(null, connection),
      (reason) => (made as (reason: Error) => void)?.(reason),
    );
  }
}
