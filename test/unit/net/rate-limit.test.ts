import { describe, expect, it } from "vitest";
import { RateLimiter } from "../../../src/net/rate-limit.ts";

const HOUR = 3_600_000;
/** A full hour of the clock. */
const START = 1_000 * HOUR;

const admitted = (limiter: RateLimiter, times: number[], address = "192.0.2.1"): boolean[] =>
  times.map((time) => limiter.admits(address, START + time));

describe("a rate limiter", () => {
  it("admits everybody if there is no limit", () => {
    expect(admitted(new RateLimiter([]), [0, 0, 0])).toEqual([true, true, true]);
  });

  it.each([
    ["second" as const, 1_000],
    ["minute" as const, 60_000],
    ["hour" as const, HOUR],
  ])("counts in windows that begin with a full %s", (type, size_ms) => {
    const limiter = new RateLimiter([{ type, limit: 2 }]);
    const end = size_ms - 1;
    expect(admitted(limiter, [end, end, end])).toEqual([true, true, false]);
    expect(admitted(limiter, [size_ms, size_ms, size_ms])).toEqual([true, true, false]);
  });

  it("counts each source for itself, and a /64 as one", () => {
    const limiter = new RateLimiter([{ type: "hour", limit: 1 }]);
    expect(limiter.admits("192.0.2.1", START)).toBe(true);
    expect(limiter.admits("::ffff:192.0.2.1", START)).toBe(false);
    expect(limiter.admits("192.0.2.2", START)).toBe(true);
    expect(limiter.admits("2001:db8::1", START)).toBe(true);
    expect(limiter.admits("2001:db8::2", START)).toBe(false);
    expect(limiter.admits(undefined, START)).toBe(true);
    expect(limiter.admits(undefined, START)).toBe(false);
  });

  it("counts a connection in no window if one refuses it", () => {
    const limiter = new RateLimiter([
      { type: "hour", limit: 3 },
      { type: "second", limit: 1 },
    ]);
    // Two more in the first second are refused; the hour has seen one.
    expect(admitted(limiter, [0, 0, 0])).toEqual([true, false, false]);
    expect(admitted(limiter, [1_000, 2_000, 3_000])).toEqual([true, true, false]);
  });

  it("counts anew when its limits are others, and goes on counting when they are not", () => {
    const [one, two] = [1, 2].map((limit) => [{ type: "hour" as const, limit }]);
    const limiter = new RateLimiter(one ?? []);
    expect(admitted(limiter, [0, 0])).toEqual([true, false]);
    limiter.use(one);
    expect(admitted(limiter, [0])).toEqual([false]);
    limiter.use(two);
    expect(admitted(limiter, [0, 0, 0])).toEqual([true, true, false]);
    limiter.use(undefined);
    expect(admitted(limiter, [0, 0, 0])).toEqual([true, true, true]);
  });

  it("shares nothing with another", () => {
    const limits = [{ type: "second" as const, limit: 1 }];
    const [a, b] = [new RateLimiter(limits), new RateLimiter(limits)];
    expect(admitted(a, [0, 0])).toEqual([true, false]);
    expect(admitted(b, [0, 0])).toEqual([true, false]);
    expect(admitted(a, [1_000])).toEqual([true]); // one rolls its window, the other its own
    expect(admitted(b, [1_000, 1_000])).toEqual([true, false]);
  });
});
