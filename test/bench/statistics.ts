/** The arithmetic of a run: what its samples say, and whether they say anything. */

export type Summary = { readonly median: number; readonly min: number; readonly max: number };

/** Throws if there is nothing to sum up. */
export function summary(samples: readonly number[]): Summary {
  const sorted = [...samples].sort((a, b) => a - b);
  const middle = (sorted.length - 1) / 2;
  const [low, high] = [sorted[Math.floor(middle)], sorted[Math.ceil(middle)]];
  const [min, max] = [sorted[0], sorted.at(-1)];
  if (low === undefined || high === undefined || min === undefined || max === undefined) {
    throw new Error("there are no samples");
  }
  return { median: (low + high) / 2, min, max };
}

/** How many times `other` this is, in the median. */
export function ratio(samples: readonly number[], other: readonly number[]): number {
  return summary(samples).median / summary(other).median;
}

/** What else the machine was doing during a sample. */
export type Surroundings = {
  /** Cores that programs other than ours kept busy. */
  readonly others: number;
  /** Share of the time that the hypervisor gave to others, 0 to 1. */
  readonly stolen: number;
};

/** More than that, in the median, and the figures are about somebody else. */
const OTHERS_MAX = 0.25;
const STOLEN_MAX = 0.05;
/** How far the best and the worst of what does not depend on a relay may lie apart, of the median. */
const SPREAD_MAX = 0.6;

/** Why these rounds are too noisy to believe; undefined if they are not. `direct` has no relay in it. */
export function noise(
  direct: readonly number[],
  surroundings: readonly Surroundings[],
): string | undefined {
  const { median, min, max } = summary(direct);
  const others = summary(surroundings.map((each) => each.others)).median;
  const stolen = summary(surroundings.map((each) => each.stolen)).median;
  if (others > OTHERS_MAX) return `other programs kept ${others.toFixed(2)} cores busy`;
  if (stolen > STOLEN_MAX) return `the host took ${(stolen * 100).toFixed(0)} % of the time away`;
  const spread = (max - min) / median;
  if (spread > SPREAD_MAX) return `without a relay the rounds differ by ${percent(spread)}`;
  return undefined;
}

export type Verdict = "passed" | "failed" | "unsure";

/** May ours cost that? A run that was too noisy cannot tell. */
export function verdict(
  { ours, theirs, most }: { ours: readonly number[]; theirs: readonly number[]; most: number },
  noisy: string | undefined,
): Verdict {
  if (noisy !== undefined) return "unsure";
  return ratio(ours, theirs) > most ? "failed" : "passed";
}

function percent(share: number): string {
  return `${(share * 100).toFixed(0)} %`;
}
