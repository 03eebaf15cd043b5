import { setTimeout as sleep } from "node:timers/promises";
import { nanoid } from "nanoid";
import type { Log } from "../core/log.ts";
import type { Meeting, Outcome } from "./leg.ts";
import type { Splice } from "./splice/splice.ts";
import { spliceStreams } from "./splice/stream.ts";

type CircuitSettings = {
  circuits_max: number;
  /** A circuit in which nothing moves for this long is ended. */
  idle_timeout_ms: number;
  /** How long circuits that are still moving bytes may go on after the proxy was asked to stop. */
  drain_timeout_ms: number;
};

/** Bytes that last moved this long ago count as the end of an exchange when draining. */
const QUIET_MS = 250;

/** Every open circuit: limits, idle timeout, and one record at its end. Its settings may change. */
export class Circuits implements AsyncDisposable {
  readonly #settings: CircuitSettings;
  readonly #log: Log;
  readonly #open = new Set<Splice>();
  #sweeper: NodeJS.Timeout;

  constructor(settings: CircuitSettings, { log }: { log: Log }) {
    this.#settings = settings;
    this.#log = log;
    this.#sweeper = this.#sweepLater();
  }

  get open(): number {
    return this.#open.size;
  }

  /** Splices two legs that met and owns their sockets from here on. */
  add(meeting: Meeting): void {
    const { caller, callee } = meeting.legs;
    const circuit = nanoid(12);
    const opened_at = Date.now();
    const splice = spliceStreams({ caller: caller.socket, callee: callee.socket });
    const waited_ms = Math.abs(caller.arrived_at - callee.arrived_at);
    this.#open.add(splice);
    const story = { circuit, door: caller.door, ...meeting.names };
    if (this.#open.size > this.#settings.circuits_max) splice.cut("limit");
    else this.#log.info(story, "circuit open");
    void splice.over.then((outcome) => {
      this.#open.delete(splice);
      const lasted_ms = Date.now() - opened_at;
      this.#tell({ ...story, waited_ms, lasted_ms }, outcome);
    });
  }

  /** Ends all circuits: those at rest at once, those that move bytes when they come to rest or time is up. */
  async [Symbol.asyncDispose](): Promise<void> {
    clearTimeout(this.#sweeper);
    const until = Date.now() + this.#settings.drain_timeout_ms;
    while (this.#open.size > 0) {
      const now = Date.now();
      for (const splice of this.#open) {
        if (now >= until || now - splice.moved_at >= QUIET_MS) splice.cut("shutdown");
      }
      await sleep(20);
    }
  }

  #sweepLater(): NodeJS.Timeout {
    const every_ms = Math.max(50, Math.min(this.#settings.idle_timeout_ms / 4, 10_000));
    return setTimeout(() => {
      this.#endIdle();
      this.#sweeper = this.#sweepLater();
    }, every_ms).unref();
  }

  #endIdle(): void {
    const limit = Date.now() - this.#settings.idle_timeout_ms;
    for (const splice of this.#open) if (splice.moved_at < limit) splice.cut("idle");
  }

  /** The record: an operator can run the service on these lines alone. */
  #tell(story: Record<string, unknown>, { ending, by, bytes }: Outcome): void {
    const record = {
      ...story,
      ending,
      by,
      bytes_from_caller: bytes.caller,
      bytes_from_callee: bytes.callee,
    };
    if (ending === "limit")
      this.#log.warn(record, "circuit ended: raise circuits_max if this is normal");
    else this.#log.info(record, "circuit ended");
  }
}
