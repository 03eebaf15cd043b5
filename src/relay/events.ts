import { Counter, Gauge, Histogram } from "prom-client";
import type { Log } from "../core/log.ts";
import { type Metrics, WAIT_BOUNDS, watch } from "../core/metrics.ts";
import { DOORS, type Door, type Names, type Outcome, type Side } from "./leg.ts";

const SIDES = ["caller", "callee"] as const satisfies Side[];
/** Circuits live from one call to days. Seconds. */
const LIFE_BOUNDS = [0.1, 1, 10, 60, 600, 3_600, 21_600, 86_400];

/** Of all circuits, or of one: how many there are, what it carried, how long it lasted. */
export type Limit = "circuits" | "bytes" | "duration";

/** A circuit while it lives. `splice` goes on counting. */
type Story = {
  readonly circuit: string;
  readonly door: Door;
  readonly names: Names;
  readonly waited_ms: number;
  readonly opened_at: number;
  readonly splice: { readonly bytes: Readonly<Record<Side, number>> };
};

/** What an operator may raise so that a circuit goes on. */
const SETTING_OF: Record<Limit, string> = {
  circuits: "circuits_max",
  bytes: "circuit_bytes_max",
  duration: "circuit_duration_max",
};

/** Why somebody at a door was not let through to a circuit. */
export type Refusal =
  /** Too many connections in too short a time, or too many strangers inside, in all or from one source. */
  | "rate"
  | "crowd"
  | "source_crowd"
  /** Said nothing in time, hung up before, or said what makes no sense. */
  | "silent"
  | "gone"
  | "malformed"
  /** Asked for nothing, for what nobody expects or announced, or for somebody who cannot be had now. */
  | "nameless"
  | "unknown"
  | "unreachable"
  /** Showed nothing that lets it in; as many wait already as may. */
  | "forbidden"
  | "full"
  /** Did not get through its handshake with a worker; failed at that too often to try again now. */
  | "handshake"
  | "banned";

/** What there is in a pool: connections that wait for a client, clients that wait for one, pairs, and agents that hear of them. */
type PoolCount = Readonly<Record<"offers" | "demands" | "matches" | "listeners", number>>;

/** What happens at doors and to circuits: counted with few labels, logged with many fields. Never throws. */
export class RelayEvents {
  readonly #log: Log;
  readonly #metrics: Metrics;
  readonly #open = new Set<Story>();
  readonly #moved = new Map<Door, Record<Side, number>>();
  readonly #circuits: Counter<"door" | "ending">;
  readonly #duration: Histogram<"door">;
  readonly #waited: Histogram<"door">;
  readonly #lonely: Counter;
  readonly #strangers = new Map<Door, Array<() => number>>();
  readonly #pools = new Map<string, () => PoolCount>();
  readonly #hello: Histogram<"door">;
  readonly #turnedAway: Counter<"door" | "why">;

  constructor({ log, metrics }: { log: Log; metrics: Metrics }) {
    this.#log = log;
    this.#metrics = metrics;
    const registers = [metrics];
    const labelNames = ["door"] as const;
    this.#circuits = new Counter({
      name: "eps_broker_circuits_total",
      help: "Circuits that are over, by the door where they began and why they ended",
      labelNames: ["door", "ending"],
      registers,
    });
    this.#duration = new Histogram({
      name: "eps_broker_circuit_duration_seconds",
      help: "How long circuits lasted",
      buckets: LIFE_BOUNDS,
      labelNames,
      registers,
    });
    this.#waited = new Histogram({
      name: "eps_broker_rendezvous_wait_seconds",
      help: "How long the first leg of a circuit waited for the second",
      buckets: WAIT_BOUNDS,
      labelNames,
      registers,
    });
    this.#lonely = new Counter({
      name: "eps_broker_rendezvous_lonely_total",
      help: "Pairs of which one side or both never came",
      registers,
    });
    this.#hello = new Histogram({
      name: "eps_broker_hello_wait_seconds",
      help: "How long strangers took to say what they want",
      buckets: WAIT_BOUNDS,
      labelNames,
      registers,
    });
    this.#turnedAway = new Counter({
      name: "eps_broker_strangers_turned_away_total",
      help: "Connections that came in by a door and became no circuit, by the reason",
      labelNames: ["door", "why"],
      registers,
    });
    this.#watchOpen();
  }

  /** Lets the number of pairs that are expected be seen. */
  watchPairs(pairs: { readonly pending: number }): void {
    const help = "Pairs of tokens that wait for somebody to show them";
    watch(this.#metrics, "eps_broker_rendezvous_pending", help, () => pairs.pending);
  }

  /** Lets it be seen what there is in a pool. Its name comes from our settings. */
  watchPool(name: string, count: () => PoolCount): void {
    if (this.#pools.size === 0) watchPools(this.#metrics, this.#pools);
    this.#pools.set(name, count);
  }

  /** Lets the number of those be seen who are inside a door and have not said yet what they want. */
  watchStrangers(door: Door, count: () => number): void {
    this.#strangers.set(door, [...(this.#strangers.get(door) ?? []), count]);
  }

  circuitOpened(story: Story): void {
    this.#open.add(story);
    this.#waited.observe({ door: story.door }, story.waited_ms / 1_000);
    const { circuit, door, names } = story;
    this.#log.info({ circuit, door, ...names }, "circuit open");
  }

  /** The record: an operator can run the service on these lines alone. */
  circuitEnded(story: Story, { ending, by, bytes }: Outcome, limit: Limit): void {
    const { circuit, door, names, waited_ms, opened_at } = story;
    const lasted_ms = Math.round(performance.now() - opened_at);
    this.#open.delete(story);
    const moved = this.#movedBy(door);
    for (const side of SIDES) moved[side] += bytes[side];
    this.#circuits.inc({ door, ending });
    this.#duration.observe({ door }, lasted_ms / 1_000);
    const record = {
      circuit,
      door,
      ...names,
      waited_ms,
      lasted_ms,
      ending,
      by,
      bytes_from_caller: bytes.caller,
      bytes_from_callee: bytes.callee,
    };
    if (ending === "limit") {
      const message = `circuit ended: raise ${SETTING_OF[limit]} if this is normal`;
      this.#log.warn({ ...record, limit }, message);
    } else this.#log.info(record, "circuit ended");
  }

  /** Patience ran out for a pair. */
  lonely(names: Names): void {
    this.#lonely.inc();
    this.#log.info({ ...names, ending: "lonely" }, "nobody came to meet");
  }

  helloHeard(door: Door, waited_ms: number): void {
    this.#hello.observe({ door }, waited_ms / 1_000);
  }

  /** `story` is for the log: whom it asked for, what went wrong. */
  turnedAway(door: Door, why: Refusal, story: Record<string, unknown> = {}): void {
    this.#turnedAway.inc({ door, why });
    const level = why === "unreachable" || why === "forbidden" ? "info" : "debug";
    this.#log[level]({ door, ...story, why, ending: "refused" }, "refused");
  }

  #movedBy(door: Door): Record<Side, number> {
    const moved = this.#moved.get(door) ?? { caller: 0, callee: 0 };
    this.#moved.set(door, moved);
    return moved;
  }

  /** What is open, and what has moved until now, also in circuits that are not over. */
  #watchOpen(): void {
    const open = this.#open;
    const movedBy = (door: Door) => this.#movedBy(door);
    const registers = [this.#metrics];
    const strangers = this.#strangers;
    new Gauge({
      name: "eps_broker_strangers",
      help: "Connections that have not said yet what they want",
      labelNames: ["door"],
      registers,
      collect() {
        for (const [door, counts] of strangers)
          this.set(
            { door },
            counts.reduce((sum, count) => sum + count(), 0),
          );
      },
    });
    new Gauge({
      name: "eps_broker_circuits_open",
      help: "Circuits that are open",
      labelNames: ["door"],
      registers,
      collect() {
        for (const door of DOORS) this.set({ door }, 0);
        for (const { door } of open) this.inc({ door });
      },
    });
    new Counter({
      name: "eps_broker_circuit_bytes_total",
      help: "Bytes that circuits brought, by the side that sent them",
      labelNames: ["door", "from"],
      registers,
      collect() {
        this.reset();
        for (const door of DOORS)
          for (const from of SIDES) this.inc({ door, from }, movedBy(door)[from]);
        for (const { door, splice } of open) {
          const { bytes } = splice;
          for (const from of SIDES) this.inc({ door, from }, bytes[from]);
        }
      },
    });
  }
}

function watchPools(metrics: Metrics, pools: ReadonlyMap<string, () => PoolCount>): void {
  new Gauge({
    name: "eps_broker_pool",
    help: "What there is in a pool: connections that wait for a client, clients that wait for one, pairs, listeners",
    labelNames: ["pool", "what"],
    registers: [metrics],
    collect() {
      this.reset();
      for (const [pool, count] of pools) {
        const { offers, demands, matches, listeners } = count();
        for (const [what, number] of Object.entries({ offers, demands, matches, listeners }))
          this.set({ pool, what }, number);
      }
    },
  });
}
