/**
 * A relay in a process of its own, whose memory and descriptors can be told from the test's: it splices
 * the legs that come in by its token door two by two. Started as `node --import tsx` with an IPC channel;
 * says which port it has, and answers every message with what it holds.
 */
import { silent } from "../../src/core/log.ts";
import { openMetrics } from "../../src/core/metrics.ts";
import { Circuits } from "../../src/relay/circuits.ts";
import { RelayEvents } from "../../src/relay/events.ts";
import type { Leg } from "../../src/relay/leg.ts";
import { circuitLimits, engines } from "./engines.ts";

export type Held = { rss: number; circuits: number; strangers: number };

const metrics = openMetrics();
const events = new RelayEvents({ log: silent, metrics });
const [, , name] = process.argv;
const engine = await (engines.find((each) => each.name === name) ?? engines[0])?.open();
if (!engine) throw new Error("there is no such engine");
const circuits = new Circuits(circuitLimits({ circuits_max: 1_000_000, drain_timeout_ms: 0 }), {
  engine,
  events,
});
const settings = {
  bind: "127.0.0.1:0",
  setting: "test",
  hello_timeout_ms: 600_000,
  strangers_max: 1_000_000,
  strangers_per_source_max: 1_000_000,
};
let waiting: Leg | undefined;
const names = { caller: "hd-1", callee: "hd-2", request: "r1" };
const door = await engine.openDoor("token", settings, { events }, (_, leg) => {
  if (waiting) void circuits.add({ names, legs: { caller: waiting, callee: leg } });
  waiting = waiting ? undefined : leg;
});

async function strangers(): Promise<number> {
  const told = await metrics.getSingleMetricAsString("eps_broker_strangers");
  return Number(/door="token"} (\d+)/.exec(told)?.[1] ?? 0);
}

/** Looking it up takes a descriptor, of which a test may leave none for a moment; then it is 0. */
function residentSize(): number {
  try {
    return process.memoryUsage().rss;
  } catch {
    return 0;
  }
}

process.on("message", async () => {
  globalThis.gc?.();
  const rss = residentSize();
  process.send?.({ rss, circuits: circuits.open, strangers: await strangers() } satisfies Held);
});
process.on("disconnect", () => process.exit());
process.send?.(door.port);
