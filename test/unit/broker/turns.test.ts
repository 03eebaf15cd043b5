import { describe, expect, it } from "vitest";
import { Turns } from "../../../src/broker/turns.ts";
import { Fault } from "../../../src/core/fault.ts";

const never = new AbortController().signal;

/** A place for calls that end when the test says so. */
function place({ calls_max = 1, waiting_max = 100 } = {}) {
  const limits = { calls_max, waiting_max };
  const turns = new Turns("hd-2", limits);
  const begun: string[] = [];
  const ends = new Map<string, () => void>();
  const call = (name: string, signal = never): Promise<void> =>
    turns.take(name.slice(0, 1), signal, async () => {
      begun.push(name);
      await new Promise<void>((resolve) => ends.set(name, resolve));
    });
  /** Lets a call end, and whoever waits for that begin. */
  const end = async (name: string): Promise<void> => {
    ends.get(name)?.();
    await new Promise(setImmediate);
  };
  return { turns, limits, begun, call, end };
}

describe("calls to one place", () => {
  it("begin at once as long as few are under way", () => {
    const { begun, call, turns } = place({ calls_max: 2 });
    for (const name of ["a1", "a2", "a3"]) void call(name);
    expect(begun).toEqual(["a1", "a2"]);
    expect(turns.waiting).toBe(1);
  });

  it("wait for those under way, and their callers take turns", async () => {
    const { begun, call, end, turns } = place();
    const calls = ["a1", "a2", "a3", "a4", "b1", "b2", "c1"].map((name) => call(name));
    const order = ["a1", "a2", "b1", "c1", "a3", "b2", "a4"];
    for (const name of order) await end(name);
    await Promise.all(calls);
    expect(begun).toEqual(order);
    expect(turns.isIdle).toBe(true);
  });

  it("give their place to the next when they fail", async () => {
    const { begun, call, end, turns } = place();
    const failing = turns.take("a", never, async () => {
      throw new Fault("failed", "no");
    });
    const next = call("b1");
    await expect(failing).rejects.toMatchObject({ fault: "failed" });
    await end("b1");
    await next;
    expect(begun).toEqual(["b1"]);
    expect(turns.isIdle).toBe(true);
  });

  it("give up waiting with their signal, and are never begun", async () => {
    const { begun, call, end, turns } = place();
    const first = call("a1");
    const signals = new AbortController();
    const reason = new Fault("timeout", "took too long");
    const waiting = call("b1", signals.signal);
    const last = call("b2");
    signals.abort(reason);
    await expect(waiting).rejects.toBe(reason);
    await expect(call("b3", signals.signal)).rejects.toBe(reason);
    for (const name of ["a1", "b1", "b2"]) await end(name);
    await Promise.all([first, last]);
    expect(begun).toEqual(["a1", "b2"]);
    expect(turns.isIdle).toBe(true);
  });

  it("are refused when too many wait, of whoever has most waiting", async () => {
    const { begun, call, end } = place({ waiting_max: 3 });
    const calls = ["a1", "a2", "a3"].map((name) => call(name));
    const flood = call("a4");
    const other = call("b1"); // a4 makes room for it
    const overloaded = { fault: "overloaded", message: expect.stringContaining("for hd-2") };
    await expect(flood).rejects.toMatchObject(overloaded);
    await expect(call("a5")).rejects.toMatchObject(overloaded);
    for (const name of ["a1", "a2", "b1", "a3"]) await end(name);
    await Promise.all([...calls, other]);
    expect(begun).toEqual(["a1", "a2", "b1", "a3"]);
  });

  it("go by limits that change meanwhile", async () => {
    const { begun, call, end, limits } = place();
    for (const name of ["a1", "a2", "a3", "a4"]) void call(name);
    limits.calls_max = 2;
    await end("a1");
    expect(begun).toEqual(["a1", "a2", "a3"]);
  });
});
