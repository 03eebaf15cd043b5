import { describe, expect, it, vi } from "vitest";
import { atMostEvery, Readiness } from "../../../src/rpc/readiness.ts";

describe("a program that is asked whether it is ready", () => {
  it("is not before everything is open, nor once it is to stop", async () => {
    const stop = new AbortController();
    const readiness = new Readiness(stop.signal);
    const running = async () => {
      const { ready, checks } = await readiness.report();
      return [ready, checks["running"]?.why];
    };
    expect(await running()).toEqual([false, "the program is still starting"]);
    readiness.opened();
    expect(await running()).toEqual([true, undefined]);
    stop.abort();
    expect(await running()).toEqual([false, "the program is stopping"]);
  });

  it("names each check and why it fails, also when the check itself does", async () => {
    const readiness = new Readiness(new AbortController().signal);
    readiness.opened();
    readiness.add("fine", () => undefined);
    readiness.add("bad", async () => "no route");
    readiness.add("broken", () => {
      throw new Error("outer", { cause: new Error("inner") });
    });
    expect(await readiness.report()).toEqual({
      ready: false,
      checks: {
        running: { ok: true },
        fine: { ok: true },
        bad: { ok: false, why: "no route" },
        broken: { ok: false, why: "outer: inner" },
      },
    });
  });

  it("does costly checks once for all who ask within a time", async () => {
    vi.useFakeTimers({ toFake: ["performance"] });
    try {
      let asked = 0;
      const check = atMostEvery(1_000, async () => {
        asked += 1;
        return `asked ${asked} times`;
      });
      expect(await Promise.all([check(), check(), check()])).toEqual(
        Array.from({ length: 3 }, () => "asked 1 times"),
      );
      vi.advanceTimersByTime(999);
      expect(await check()).toBe("asked 1 times");
      vi.advanceTimersByTime(1);
      expect(await check()).toBe("asked 2 times");
    } finally {
      vi.useRealTimers();
    }
  });
});
