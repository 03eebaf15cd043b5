import { getHeapStatistics, setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

/**
 * Lets the heap become five times what lives in it before all of it is collected. For programs whose bytes
 * pass by: each buffer is garbage soon, is freed by the small collections, and yet counts towards the
 * next large one, so that V8, left alone, collects everything several times a second.
 */
export function letGarbageWait(): void {
  setFlagsFromString("--heap-growing-percent=400");
}

/** How often it is looked, how much of that time the program may have worked, and for how long. */
const LOOK_MS = 2_000;
const BUSY_MAX = 0.05;
const QUIET_MS = 30_000;
/** Bytes that the heap has to have grown by for a collection to be worth it. */
const WORTH = 8 * 1024 * 1024;

/**
 * Collects garbage once the program has had nothing to do for a while: V8 collects only while something
 * allocates, so what a busy moment leaves, as a thousand circuits being set up, would stay for as long as they
 * are idle. It takes along what V8 had optimized for objects of which there are none now, so that the first
 * thousand calls after it cost twice as much: nothing for a thread that has to be fast after each pause.
 */
export function collectWhenQuiet(signal: AbortSignal, { quiet_ms = QUIET_MS } = {}): void {
  if (signal.aborted) return;
  setFlagsFromString("--expose-gc"); // what is made from here on has it, as is this context
  const collect = runInNewContext("gc") as () => void;
  let lived = used();
  let rested_ms = 0;
  let since = performance.eventLoopUtilization();
  const look = (): void => {
    const now = performance.eventLoopUtilization();
    const { utilization } = performance.eventLoopUtilization(now, since);
    since = now;
    rested_ms = utilization > BUSY_MAX ? 0 : rested_ms + LOOK_MS;
    if (rested_ms < quiet_ms || used() < lived + WORTH) return;
    collect();
    collect(); // and gives back the pages that the first one has emptied
    lived = used();
  };
  const timer = setInterval(look, LOOK_MS).unref();
  signal.addEventListener("abort", () => clearInterval(timer), { once: true });
}

function used(): number {
  return getHeapStatistics().used_heap_size;
}
