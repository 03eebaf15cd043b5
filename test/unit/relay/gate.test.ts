import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Gate } from "../../../src/relay/zmtp/gate.ts";

describe("a source whose handshakes fail", () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });
  afterEach(() => {
    vi.useRealTimers();
  });
  const open = () => {
    const gate = new Gate({ handshake_timeout_ms: 1_000, failures_max: 2, ban_ms: 1_000 });
    /** How long it is banned from now on, in seconds. */
    const banned_s = (): number => {
      let seconds = 0;
      for (; gate.bans("a"); seconds += 0.5) vi.advanceTimersByTime(500);
      return seconds;
    };
    return { gate, banned_s };
  };

  it("has to wait once it failed too often in a row, and twice as long each time, to a limit", () => {
    const { gate, banned_s } = open();
    gate.failed("a");
    expect(gate.bans("a")).toBe(false);
    const bans = Array.from({ length: 9 }, () => {
      gate.failed("a");
      return banned_s();
    });
    expect(bans).toEqual([1, 2, 4, 8, 16, 32, 64, 64, 64]);
    expect(gate.bans("b")).toBe(false);
  });

  it("begins anew with a handshake that went well", () => {
    const { gate, banned_s } = open();
    for (let i = 0; i < 5; i += 1) gate.failed("a");
    gate.succeeded("a");
    expect(gate.bans("a")).toBe(false);
    gate.failed("a");
    gate.failed("a");
    expect(banned_s()).toBe(1);
  });
});
