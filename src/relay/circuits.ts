import { setTimeout as sleep } from "node:timers/promises";
import { nanoid } from "nanoid";
import type { RelayEvents } from "./events.ts";
import type { Meeting } from "./leg.ts";
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

/** Every open circuit: limits, idle timeout, and one story told of each. Its settings may change. */
export class Circuits implements AsyncDisposable {
  readonly #settings: CircuitSettings;
  readonly #events: RelayEvents;
  readonly #open = new Set<Splice>();
  #sweeper: NodeJS.Timeout;

  constructor(settings: CircuitSettings, { events }: { events: RelayEvents }) {
    this.#settings = settings;
    this.#events = events;
    this.#sweeper = this.#sweepLater();
  }

  get open(): number {
    return this.#open.size;
  }

  /** Splices two legs that met and owns their sockets from here on. */
  add(meeting: Meeting): void {
    const { caller, callee } = meeting.legs;
    const splice = spliceStreams({ caller: caller.socket, callee: callee.socket });
    const story = {
      circuit: nanoid(12),
      door: caller.door,
      names: meeting.names,
      waited_ms: Math.abs(caller.arrived_at - callee.arrived_at),
      opened_at: Date.now(),
      bytes: splice.bytes,
    };
    this.#open.add(splice);
    if (this.#open.size > this.#settings.circuits_max) splice.cut("limit");
    else this.#events.circuitOpened(story);
    void splice.over.then((outcome) => {
      this.#open.delete(splice);
      this.#events.circuitEnded(story, outcome);
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
}
