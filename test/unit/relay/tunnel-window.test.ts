import { describe, expect, it } from "vitest";
import { Window } from "../../../src/relay/tunnel/window.ts";

const SIZE = 65_536;
const FRAME = SIZE / 4;

/** Uses all of it again and again, `each_ms` for each quarter, and says what it was given back in all. */
function carry(rtt_ms: number, each_ms: number, { size_max = 16 * SIZE, left = 64 * SIZE } = {}) {
  let spare = left;
  const take = (size: number): boolean => {
    if (size > spare) return false;
    spare -= size;
    return true;
  };
  const window = new Window(SIZE, { rtt_ms: () => rtt_ms, size_max, take }, 0);
  let [now, back] = [0, 0];
  for (let i = 0; i < 100; i += 1) {
    now += each_ms * (window.size / SIZE);
    window.use(FRAME * (window.size / SIZE));
    back += window.due(now);
  }
  return { window, back, spare };
}

describe("a window", () => {
  it("is given back a quarter at a time, and as it was where the other side is near", () => {
    const { window, back } = carry(1, 0.01);
    expect(window.size).toBe(SIZE);
    expect(back).toBe(100 * FRAME);
    window.use(FRAME - 1);
    expect(window.due(1e6)).toBe(0);
  });

  it("stays narrow as long as nobody knows how far it is", () => {
    expect(carry(0, 0.001).window.size).toBe(SIZE);
  });

  it("doubles while all of it passes in less than two round trips, up to the longest", () => {
    const { window, spare } = carry(50, 10);
    expect(window.size).toBe(4 * SIZE); // in 160 ms; in 40 and in 80 before
    expect(spare).toBe((64 - 3) * SIZE);
    expect(carry(50, 0.1).window.size).toBe(16 * SIZE);
  });

  it("gives back what it grew by, so that as much may come as it says", () => {
    const { window, back } = carry(50, 0.1, { size_max: 2 * SIZE });
    expect(window.size).toBe(2 * SIZE);
    expect(back).toBe(FRAME + 99 * 2 * FRAME + SIZE);
  });

  it("grows no further than there is left to grow by", () => {
    const { window, spare } = carry(50, 0.1, { left: 3 * SIZE });
    expect(window.size).toBe(4 * SIZE);
    expect(spare).toBe(0);
  });

  it("is not overrun", () => {
    const window = new Window(SIZE, { rtt_ms: () => 0, size_max: SIZE, take: () => true });
    window.use(SIZE);
    expect(() => window.use(1)).toThrow(expect.objectContaining({ fault: "malformed" }));
  });
});
