import { describe, expect, it } from "vitest";
import { noise, ratio, summary, verdict } from "../../bench/statistics.ts";

const quiet = Array.from({ length: 5 }, () => ({ others: 0.02, stolen: 0 }));
const steady = [10, 11, 12, 11, 10];

describe("the arithmetic of a run", () => {
  it("takes the middle one, or what lies between the two in the middle", () => {
    expect(summary([3, 1, 100])).toEqual({ median: 3, min: 1, max: 100 });
    expect(summary([4, 1, 2, 100])).toEqual({ median: 3, min: 1, max: 100 });
    expect(() => summary([])).toThrow("no samples");
  });

  it("leaves the samples in their order", () => {
    const samples = [3, 1, 2];
    summary(samples);
    expect(samples).toEqual([3, 1, 2]);
  });

  it("compares medians, so that one outlier decides nothing", () => {
    expect(ratio([2, 2, 90], [1, 1, 1])).toBe(2);
  });
});

describe("the noise of a run", () => {
  it("is none on a machine that does nothing else", () => {
    expect(noise(steady, quiet)).toBeUndefined();
  });

  it("is told when others keep the machine busy in most rounds, not in one", () => {
    const busy = { others: 0.5, stolen: 0 };
    expect(noise(steady, [...quiet, busy])).toBeUndefined();
    expect(noise(steady, [busy, busy, busy, ...quiet.slice(3)])).toContain("0.50 cores");
  });

  it("is told when the host takes the time away", () => {
    const robbed = quiet.map((each) => ({ ...each, stolen: 0.1 }));
    expect(noise(steady, robbed)).toContain("10 %");
  });

  it("is told when the rounds without a relay differ too much", () => {
    expect(noise([10, 10, 10, 10, 3], quiet)).toContain("differ by 70 %");
  });
});

describe("the guard", () => {
  const compare = (ours: number[], noisy?: string) =>
    verdict({ ours, theirs: [1, 1, 1.1, 0.9, 1], most: 2 }, noisy);

  it("passes what costs up to twice as much in the median", () => {
    expect(compare([2, 2, 2, 9, 9])).toBe("passed");
  });

  it("fails what costs more", () => {
    expect(compare([2.1, 2.1, 2.1, 1, 1])).toBe("failed");
  });

  it("cannot tell when the run was noisy, whatever the figures say", () => {
    expect(compare([9, 9, 9, 9, 9], "others were busy")).toBe("unsure");
    expect(compare([1, 1, 1, 1, 1], "others were busy")).toBe("unsure");
  });
});
