import { sourceOf } from "./source.ts";

export type RateLimit = { type: "second" | "minute" | "hour"; limit: number };

/** More sources than this in one window are not told apart: the window starts anew. */
const SOURCES_MAX = 100_000;
const NONE: readonly RateLimit[] = [];
const WINDOW_MS = { second: 1_000, minute: 60_000, hour: 3_600_000 };

/**
 * New connections per source in fixed windows that start on the full second, minute or hour
 * (eps-protocol 10.1). A connection counts in no window if any refuses it, and every listener has
 * its own windows.
 */
export class RateLimiter {
  #limits: readonly RateLimit[] = [];
  #windows: Array<{
    limit: number;
    size_ms: number;
    number: number;
    seen: Map<string, number>;
  }> = [];

  constructor(limits: readonly RateLimit[]) {
    this.use(limits);
  }

  /** From now on these limits hold. If they are others than before, counting starts anew. */
  use(limits: readonly RateLimit[] = NONE): void {
    if (limits === this.#limits) return;
    this.#limits = limits;
    this.#windows = limits.map(({ type, limit }) => ({
      limit,
      size_ms: WINDOW_MS[type],
      number: 0,
      seen: new Map(),
    }));
  }

  admits(address: string | undefined, now = Date.now()): boolean {
    const source = sourceOf(address);
    for (const window of this.#windows) {
      const number = Math.floor(now / window.size_ms);
      if (number !== window.number || window.seen.size > SOURCES_MAX) {
        window.number = number;
        window.seen.clear();
      }
    }
    if (this.#windows.some(({ seen, limit }) => (seen.get(source) ?? 0) >= limit)) return false;
    for (const { seen } of this.#windows) seen.set(source, (seen.get(source) ?? 0) + 1);
    return true;
  }
}
