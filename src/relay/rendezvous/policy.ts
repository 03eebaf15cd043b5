/**
 * Ways to choose among offers that wait: the oldest (`fifo`); one of the owner that has fewest in use,
 * and of those the one that was used least; or one of the owner that this key had before (`sticky`).
 */
export const POLICIES = ["fifo", "least-used", "sticky"] as const;
export type Policy = (typeof POLICIES)[number];

/** What a pool knows of one owner. */
export type Group<Offer> = {
  readonly owner: string;
  /** Those of it that wait, oldest first. */
  readonly offers: Set<Offer>;
  /** How many of its offers are in use, how many were ever, and how many of the last failed in a row. */
  matches: number;
  served: number;
  failures: number;
  /** It is passed over until then, in milliseconds of `performance.now()`. */
  rests_until: number;
};

type Choice<Offer> = {
  readonly offers: ReadonlySet<Offer>;
  readonly groups: ReadonlyMap<string, Group<Offer>>;
  /** Which owner a key belongs to. */
  readonly favourites: Map<string, string>;
};

/** Keys that are remembered in one pool; the one that was seen longest ago is forgotten first. */
const FAVOURITES_MAX = 10_000;

/**
 * The offer that the first policy with an answer chooses; at last the oldest, of an owner that does
 * not rest if there is one. Undefined only if there are no offers.
 */
export function choose<Offer extends { readonly owner: string }>(
  policies: readonly Policy[],
  { offers, groups, favourites }: Choice<Offer>,
  key: string,
): Offer | undefined {
  const now = performance.now();
  const awake = (group: Group<Offer> | undefined): boolean => !group || group.rests_until <= now;
  for (const policy of policies) {
    if (policy === "fifo") break;
    const group =
      policy === "sticky" ? groups.get(favourites.get(key) ?? "") : leastUsed(groups, awake);
    const [offer] = group && awake(group) ? group.offers : [];
    if (offer) return offer;
  }
  for (const offer of offers) if (awake(groups.get(offer.owner))) return offer;
  const [any] = offers; // all rest, and one of them is better than nobody
  return any;
}

/** A key stays with its owner for as long as the pool knows that owner, also while it is served elsewhere. */
export function remember<Offer>(
  { groups, favourites }: Choice<Offer>,
  key: string,
  owner: string,
): void {
  const before = favourites.get(key);
  favourites.delete(key);
  favourites.set(key, before !== undefined && groups.has(before) ? before : owner);
  const [oldest] = favourites.keys();
  if (favourites.size > FAVOURITES_MAX && oldest !== undefined) favourites.delete(oldest);
}

function leastUsed<Offer>(
  groups: ReadonlyMap<string, Group<Offer>>,
  awake: (group: Group<Offer>) => boolean,
): Group<Offer> | undefined {
  let least: Group<Offer> | undefined;
  for (const group of groups.values()) {
    if (group.offers.size === 0 || !awake(group)) continue;
    const fewer = least ? group.matches - least.matches || group.served - least.served : -1;
    if (fewer < 0) least = group;
  }
  return least;
}
