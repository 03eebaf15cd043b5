import { setTimeout as sleep } from "node:timers/promises";
import { now_ms } from "./load/bulk.ts";
import type { Load } from "./load/load.ts";
import { cpuOf, memoryOf } from "./machine.ts";
import type { Contestant, Place, Relay } from "./relays/relay.ts";
import { summary } from "./statistics.ts";

/** What a figure is called, in which unit it is told, and which way is better. */
export type Figure = {
  readonly title: string;
  readonly unit: string;
  readonly better: "more" | "less";
};

export type Sample = Record<string, number>;

/** Both sides of the load. */
export type Sides = { readonly caller: Load; readonly callee: Load };

export type Measure = {
  readonly key: string;
  readonly title: string;
  readonly figures: Readonly<Record<string, Figure>>;
  /** Which figure of `direct` says how steady the machine was. */
  readonly steady: string;
  sample(relay: Relay, sides: Sides, contestant: Contestant): Promise<Sample>;
};

const GIB = 2 ** 30;
/** For so long the callee's legs are on their way before the first of the caller's. */
const AHEAD_MS = 30;
const CORES = { title: "relay", unit: "cores", better: "less" } as const;
const LOAD = { title: "load", unit: "cores", better: "less" } as const;

/** Bulk in one direction or both, for so long. */
export function bulk(
  circuits: number,
  { both: back, seconds }: { both: boolean; seconds: number },
): Measure {
  return {
    key: `bulk-${circuits}${back ? "-both" : ""}`,
    title: `Bulk, ${count(circuits)}, ${back ? "both directions" : "one direction"}`,
    figures: {
      gbps: { title: "throughput", unit: "Gbit/s", better: "more" },
      cpu_s_per_gib: { title: "processor time", unit: "CPU-s/GiB", better: "less" },
      relay_cores: CORES,
      load_cores: LOAD,
    },
    steady: "gbps",
    async sample(relay, { caller, callee }) {
      await open(relay, { caller, callee }, circuits);
      const spent = meter(relay, { caller, callee });
      const begun = now_ms();
      const until_ms = begun + seconds * 1_000;
      const [there, reply] = await both([
        caller.do("bulk", { sends: true, until_ms }),
        callee.do("bulk", { sends: back, until_ms }),
      ]);
      const [caller_end, callee_end] = await both([
        caller.do("drain", { expected: reply.sent }),
        callee.do("drain", { expected: there.sent }),
      ]);
      const { relay_s, load_s } = spent();
      same(there.sent, callee_end.received);
      same(reply.sent, caller_end.received);
      await both([caller.do("close", {}), callee.do("close", {})]);
      const took_s = (Math.max(caller_end.ended_ms, callee_end.ended_ms) - begun) / 1_000;
      const bytes = sum(there.sent) + sum(reply.sent);
      return {
        gbps: (bytes * 8) / took_s / 1e9,
        cpu_s_per_gib: relay_s / (bytes / GIB),
        relay_cores: relay_s / took_s,
        load_cores: load_s / took_s,
      };
    },
  };
}

/** One byte there and back on each circuit, again and again. */
export function rounds(circuits: number, { seconds }: { seconds: number }): Measure {
  return {
    key: `rounds-${circuits}`,
    title: `One byte there and back, ${count(circuits)}`,
    figures: {
      p50_us: { title: "p50", unit: "µs", better: "less" },
      p99_us: { title: "p99", unit: "µs", better: "less" },
      rounds_per_s: { title: "rounds", unit: "/s", better: "more" },
      cpu_us: { title: "processor time a round", unit: "CPU-µs", better: "less" },
      load_cores: LOAD,
    },
    steady: "rounds_per_s",
    async sample(relay, { caller, callee }) {
      await open(relay, { caller, callee }, circuits);
      const spent = meter(relay, { caller, callee });
      const begun = now_ms();
      const [asked] = await both([
        caller.do("ask", { until_ms: begun + seconds * 1_000 }),
        callee.do("answer", {}),
      ]);
      const took_s = (now_ms() - begun) / 1_000;
      const { relay_s, load_s } = spent();
      return {
        p50_us: asked.p50_us,
        p99_us: asked.p99_us,
        rounds_per_s: asked.rounds / took_s,
        cpu_us: (relay_s / asked.rounds) * 1e6,
        load_cores: load_s / took_s,
      };
    },
  };
}

/** Circuits that are opened, carry a few bytes and are closed, 64 at once. */
export function setups(most: number): Measure {
  return {
    key: "setups",
    title: "Circuits set up, 64 at once",
    figures: {
      per_s: { title: "circuits", unit: "/s", better: "more" },
      p50_us: { title: "p50", unit: "µs", better: "less" },
      p99_us: { title: "p99", unit: "µs", better: "less" },
      cpu_us: { title: "processor time a circuit", unit: "CPU-µs", better: "less" },
      asked_us: { title: "with being asked for it", unit: "CPU-µs", better: "less" },
      load_cores: LOAD,
    },
    steady: "per_s",
    async sample(relay, { caller, callee }, contestant) {
      const circuits = Math.min(most, contestant.most.setups);
      const asking = meter(relay, { caller, callee });
      const ways = await relay.prepare(circuits);
      const asked_s = asking().relay_s;
      const waiting = callee.do("open", { side: "callee", way: ways.callee, stay: false });
      waiting.catch(() => {}); // told below
      await sleep(AHEAD_MS);
      const spent = meter(relay, { caller, callee });
      const begun = now_ms();
      const dialling = caller.do("open", { side: "caller", way: ways.caller, stay: false });
      const [{ waits_us }] = await both([dialling, waiting]);
      const took_s = (now_ms() - begun) / 1_000;
      const { relay_s, load_s } = spent();
      const sorted = waits_us.sort((a, b) => a - b);
      return {
        per_s: circuits / took_s,
        p50_us: summary(sorted).median,
        p99_us: sorted[Math.floor(sorted.length * 0.99)] ?? 0,
        cpu_us: (relay_s / circuits) * 1e6,
        asked_us: ((asked_s + relay_s) / circuits) * 1e6,
        load_cores: load_s / took_s,
      };
    },
  };
}

/** How many circuits, and how long they rest before a relay is weighed. */
type Weighing = { readonly most: number; readonly rest_ms: number };

const WARM = 1_000;
/** Many, because what a garbage collection gives back or has not yet is shared by all of them. */
const SILENT = 15_000;

/**
 * Bytes of memory for each circuit that is open and has been idle for a while, and for each connection
 * that has said nothing yet, of a relay that was started for it. The first few hundred only warm it up.
 */
export async function memory(
  contestant: Contestant,
  place: Place,
  { caller, callee, most, rest_ms }: Sides & Weighing,
): Promise<Sample> {
  await using relay = await contestant.start(place);
  const sides = { caller, callee };
  await open(relay, sides, WARM);
  await sleep(rest_ms);
  const [empty, circuits] = [memoryOf(relay.pids), Math.min(most, contestant.most.idle)];
  await open(relay, sides, circuits);
  await sleep(rest_ms);
  const idle = (memoryOf(relay.pids) - empty) / circuits;
  await both([caller.do("close", {}), callee.do("close", {})]);
  return { idle };
}

/** The same for connections to a relay that pairs by what they say, and which have said nothing. */
export async function silence(
  contestant: Contestant,
  place: Place,
  { caller, rest_ms }: Sides & Omit<Weighing, "most">,
): Promise<Sample> {
  await using relay = await contestant.start(place);
  const { caller: way } = await relay.prepare(1);
  if (!("port" in way)) throw new Error("nobody dials this relay");
  await caller.do("hold", { port: way.port, count: WARM, dribbles: false });
  await sleep(rest_ms);
  const before = memoryOf(relay.pids);
  await caller.do("hold", { port: way.port, count: SILENT, dribbles: false });
  await sleep(rest_ms);
  const pending = (memoryOf(relay.pids) - before) / SILENT;
  await caller.do("close", {});
  return { pending };
}

/**
 * One byte there and back on one circuit, first alone and then beside a crowd of strangers, half of
 * whom are silent and half of whom have said a first byte.
 */
export async function crowd(
  contestant: Contestant,
  place: Place,
  { caller, callee, strangers, count, seconds }: Sides & Crowd,
): Promise<Sample> {
  await using relay = await contestant.start(place);
  const sides = { caller, callee };
  const p50_us = async (): Promise<number> => {
    await open(relay, sides, 1);
    const until_ms = now_ms() + seconds * 1_000;
    const [asked] = await both([caller.do("ask", { until_ms }), callee.do("answer", {})]);
    return asked.p50_us;
  };
  await p50_us();
  const alone_us = await p50_us();
  const { caller: way } = await relay.prepare(1);
  if (!("port" in way)) throw new Error("nobody dials this relay");
  await strangers.do("hold", { port: way.port, count, dribbles: true });
  const beside_us = await p50_us();
  await strangers.do("close", {});
  return { alone_us, beside_us, times: beside_us / alone_us };
}

type Crowd = { readonly strangers: Load; readonly count: number; readonly seconds: number };

async function open(relay: Relay, { caller, callee }: Sides, circuits: number): Promise<void> {
  const ways = await relay.prepare(circuits);
  const waiting = callee.do("open", { side: "callee", way: ways.callee, stay: true });
  waiting.catch(() => {}); // told below
  await sleep(AHEAD_MS);
  await both([caller.do("open", { side: "caller", way: ways.caller, stay: true }), waiting]);
}

/** Processor time from now on, of the relay and of the load, in seconds. */
function meter(relay: Relay, { caller, callee }: Sides): () => { relay_s: number; load_s: number } {
  const load = [caller.pid, callee.pid];
  const [relay_was, load_was] = [cpuOf(relay.pids), cpuOf(load)];
  return () => ({ relay_s: cpuOf(relay.pids) - relay_was, load_s: cpuOf(load) - load_was });
}

/** Both sides' answers; if one failed, only once the other is done too, so that both can go on. */
async function both<A, B>(work: readonly [Promise<A>, Promise<B>]): Promise<[A, B]> {
  await Promise.allSettled(work);
  return await Promise.all(work);
}

function same(sent: readonly number[], received: readonly number[]): void {
  for (const [circuit, bytes] of sent.entries()) {
    if (received[circuit] === bytes) continue;
    throw new Error(`circuit ${circuit} was given ${bytes} bytes and brought ${received[circuit]}`);
  }
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, each) => total + each, 0);
}

function count(circuits: number): string {
  return circuits === 1 ? "1 circuit" : `${circuits} circuits`;
}
