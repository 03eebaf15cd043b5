import { setTimeout as sleep } from "node:timers/promises";
import { nanoid } from "nanoid";
import type { Engine } from "./engine.ts";
import type { Limit, RelayEvents } from "./events.ts";
import type { Meeting, Outcome } from "./leg.ts";
import type { Splice } from "./splice.ts";

export type CircuitSettings = {
  circuits_max: number;
  /** A circuit in which nothing moves for this long is ended. */
  idle_timeout_ms: number;
  /** What one circuit may carry in all, and how long it may last. Infinity is no limit. */
  circuit_bytes_max: number;
  circuit_duration_max_ms: number;
  /** How long circuits may go on after the proxy was asked to stop, and be silent meanwhile. */
  drain_timeout_ms: number;
};

type OpenCircuit = {
  readonly splice: Splice;
  readonly opened_at: number;
  /** Which limit it has hit, if it ends by one. */
  limit: Limit;
};

/** Every open circuit: limits, idle timeout, and one story told of each. Its settings may change. */
export class Circuits implements AsyncDisposable {
  readonly #settings: CircuitSettings;
  readonly #events: RelayEvents;
  readonly #engine: Engine;
  readonly #open = new Set<OpenCircuit>();
  #sweeper: NodeJS.Timeout;

  constructor(
    settings: CircuitSettings,
    { engine, events }: { engine: Engine; events: RelayEvents },
  ) {
    this.#settings = settings;
    this.#engine = engine;
    this.#events = events;
    this.#sweeper = this.#sweepLater();
  }

  get open(): number {
    return this.#open.size;
  }

  /** Splices two legs that met and owns their lines from here on. Resolves once it is over. */
  add(meeting: Meeting): Promise<Outcome> {
    const { caller, callee } = meeting.legs;
    const { circuits_max, circuit_bytes_max: bytes_max } = this.#settings;
    const lines = { caller: caller.line, callee: callee.line };
    const splice = this.#engine.splice(lines, { bytes_max });
    const circuit: OpenCircuit = { splice, opened_at: performance.now(), limit: "bytes" };
    const story = {
      circuit: nanoid(12),
      door: caller.door,
      names: meeting.names,
      waited_ms: Math.round(Math.abs(caller.arrived_at - callee.arrived_at)),
      opened_at: circuit.opened_at,
      splice,
    };
    this.#open.add(circuit);
    if (this.#open.size > circuits_max) cutFor("circuits", circuit);
    else this.#events.circuitOpened(story);
    return splice.over.then((outcome) => {
      this.#open.delete(circuit);
      this.#events.circuitEnded(story, outcome, circuit.limit);
      return outcome;
    });
  }

  /**
   * Ends all circuits: when both sides have finished or time is up. Silence tells nothing about whether
   * somebody waits for a slow answer, so only a circuit that was silent for as long as all may go on is
   * ended before.
   */
  async [Symbol.asyncDispose](): Promise<void> {
    clearTimeout(this.#sweeper);
    const { drain_timeout_ms } = this.#settings;
    const until = performance.now() + drain_timeout_ms;
    while (this.#open.size > 0) {
      const now = performance.now();
      for (const { splice } of this.#open) {
        if (now >= until || now - splice.moved_at >= drain_timeout_ms) splice.cut("shutdown");
      }
      await sleep(20);
    }
  }

  #sweepLater(): NodeJS.Timeout {
    const { idle_timeout_ms, circuit_duration_max_ms } = this.#settings;
    const soonest_ms = Math.min(idle_timeout_ms, circuit_duration_max_ms);
    const every_ms = Math.max(50, Math.min(soonest_ms / 4, 10_000));
    return setTimeout(() => {
      this.#sweep();
      this.#sweeper = this.#sweepLater();
    }, every_ms).unref();
  }

  #sweep(): void {
    const { idle_timeout_ms, circuit_duration_max_ms } = this.#settings;
    const now = performance.now();
    for (const circuit of this.#open) {
      const { splice, opened_at } = circuit;
      if (now - opened_at >= circuit_duration_max_ms) cutFor("duration", circuit);
      else if (now - splice.moved_at >= idle_timeout_ms) splice.cut("idle");
    }
  }
}

function cutFor(limit: Limit, circuit: OpenCircuit): void {
  circuit.limit = limit;
  circuit.splice.cut("limit");
}
