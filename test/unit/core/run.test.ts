import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { run } from "../../../src/core/run.ts";

describe("a program that is asked to leave", () => {
  beforeEach(() => {
    vi.useFakeTimers();
    vi.spyOn(process, "exit").mockImplementation((() => {}) as never);
    vi.spyOn(process.stderr, "write").mockImplementation(() => true);
  });
  const forget: Array<() => unknown> = [];
  afterEach(() => {
    for (const each of forget.splice(0)) each();
    vi.useRealTimers();
    vi.restoreAllMocks();
  });

  /** Starts a command that never closes, and asks it to leave. */
  function leave(drain_ms?: number): void {
    void run(async (_, { mayDrain }) => {
      if (drain_ms !== undefined) mayDrain(() => drain_ms);
      await new Promise(() => {});
    });
    const leaving = process.listeners("SIGTERM").at(-1) as () => void;
    leaving();
    forget.push(() => process.off("SIGTERM", leaving).off("SIGINT", leaving));
  }

  it("is ended after 10 s when it does not close", () => {
    leave();
    vi.advanceTimersByTime(9_999);
    expect(process.exit).not.toHaveBeenCalled();
    vi.advanceTimersByTime(1);
    expect(process.exit).toHaveBeenCalledWith(1);
  });

  it("may go on as long as its settings promise", () => {
    leave(60_000);
    vi.advanceTimersByTime(60_000);
    expect(process.exit).not.toHaveBeenCalled();
    vi.advanceTimersByTime(10_000);
    expect(process.exit).toHaveBeenCalledWith(1);
  });
});

describe("a program whose terminal is still there, or that has none", () => {
  beforeEach(() => {
    vi.useFakeTimers(); // the one that ends a program that does not close
  });
  afterEach(() => {
    vi.useRealTimers();
  });
  const hangUp = (): void => (process.listeners("SIGHUP").at(-1) as () => void)();

  it("does at SIGHUP what its command has arranged, and goes on", async () => {
    let renewed = 0;
    let leave = (): void => {};
    const running = run(async (signal, { onHangup }) => {
      onHangup(() => {
        renewed += 1;
      });
      await new Promise<void>((resolve) => {
        leave = resolve;
      });
      expect(signal.aborted).toBe(false);
    });
    hangUp();
    hangUp();
    expect(renewed).toBe(2);
    leave();
    await running;
  });

  it("leaves at SIGHUP if its command has arranged nothing", async () => {
    const before = process.listenerCount("SIGHUP");
    const running = run(async (signal) => {
      await new Promise((resolve) => signal.addEventListener("abort", resolve));
    });
    hangUp();
    await running;
    expect(process.listenerCount("SIGHUP")).toBe(before);
  });
});
