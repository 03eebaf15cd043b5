import type { Socket } from "node:net";
import { Deadline } from "../../core/deadline.ts";
import { encodeGreeting } from "../../wire/zmtp.ts";
import { hearGreeting } from "../doors/strangers.ts";
import { ZMTP_CLIENT } from "../doors/zmtp.ts";
import { askWorker, finishHandshake } from "./handshake.ts";

/** Read when they are needed, so that they may change. */
export type GateSettings = {
  /** How long client and worker may take from HELLO to READY. */
  handshake_timeout_ms: number;
  /** After so many failed handshakes in a row a source has to wait, and after each further one twice as long. */
  failures_max: number;
  ban_ms: number;
};

/** A client that has said its greeting and HELLO, and a worker that has not heard them. */
type Introduced = { client: Socket; worker: Socket; opening: Buffer };

/** Sources that are remembered for having failed; the one that failed longest ago is forgotten first. */
const SOURCES_MAX = 10_000;
/** How often a ban is doubled: from 10 s to 11 minutes. */
const DOUBLED_MAX = 6;

/**
 * Stands between ZeroMQ clients and workers until a client has proved to be worth one. libzmq never
 * dials again after a protocol error, so a worker that heard nonsense would be lost for good.
 */
export class Gate {
  readonly #settings: GateSettings;
  readonly #failures = new Map<string, { count: number; until: number }>();

  constructor(settings: GateSettings) {
    this.#settings = settings;
  }

  /** Greets a client and brings back its opening. Throws if it says anything else. */
  async hear(client: Socket, signal: AbortSignal): Promise<Buffer> {
    client.write(encodeGreeting("CURVE"));
    return Buffer.from(await hearGreeting(client, ZMTP_CLIENT, signal), "latin1");
  }

  /** Has this source failed so often of late that it has to wait? */
  bans(source: string): boolean {
    const { count, until } = this.#failures.get(source) ?? { count: 0, until: 0 };
    return count >= this.#settings.failures_max && performance.now() < until;
  }

  /**
   * Gets a client and a worker through their handshake. `welcomed` is called once the worker has
   * answered and before the client hears of it: the moment up to which another worker may be asked.
   */
  async introduce(
    { client, worker, opening }: Introduced,
    welcomed: () => void,
    signal: AbortSignal,
  ): Promise<void> {
    const { handshake_timeout_ms } = this.#settings;
    const clientGone = (): void => void worker.destroy();
    client.on("close", clientGone);
    if (client.destroyed) clientGone();
    try {
      using deadline = new Deadline(handshake_timeout_ms, "a handshake with a worker", signal);
      const welcome = await askWorker(worker, opening, deadline.signal);
      welcomed();
      await finishHandshake({ client, worker }, welcome, deadline.signal);
    } finally {
      client.off("close", clientGone);
    }
  }

  /** A client from there got through its handshake: what failed before is forgotten. */
  succeeded(source: string): void {
    this.#failures.delete(source);
  }

  /** A client from there was turned away within its handshake. Each ban in a row is twice as long. */
  failed(source: string): void {
    const failures = this.#failures;
    const { failures_max, ban_ms } = this.#settings;
    const count = (failures.get(source)?.count ?? 0) + 1;
    const doubled = Math.min(Math.max(0, count - failures_max), DOUBLED_MAX);
    failures.delete(source);
    failures.set(source, { count, until: performance.now() + ban_ms * 2 ** doubled });
    const [oldest] = failures.keys();
    if (failures.size > SOURCES_MAX && oldest !== undefined) failures.delete(oldest);
  }
}
