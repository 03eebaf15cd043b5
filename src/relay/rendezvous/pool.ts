import { Fault } from "../../core/fault.ts";
import { Holdings } from "../../net/source.ts";
import { choose, type Group, remember } from "./policy.ts";
import type { PoolsTerms, PoolTerms } from "./pool-terms.ts";

type Offer<Leg> = {
  readonly pool: string;
  readonly owner: string;
  readonly leg: Leg;
};

export type Demand<Leg> = {
  readonly pool: string;
  readonly source: string;
  readonly leg: Leg;
  /** What the `sticky` policy knows it by: its source, or something it has shown. */
  readonly key: string;
};

export type Match<Leg> = { readonly offer: Offer<Leg>; readonly demand: Demand<Leg> };
type PoolEvents<Leg, Ear> = {
  /** `ears` belong to the owner of the offer and want to hear of it. */
  met(match: Match<Leg>, ears: readonly Ear[]): void;
  /** One of the two left, so that the other has nobody any more; told once for each `met`. */
  parted(match: Match<Leg>, by: "offer" | "demand", ears: readonly Ear[]): void;
  /** Patience ran out. */
  lonely(demand: Demand<Leg>): void;
};

/** Offers and demands that wait, pairs, those who hear of them, and whether nobody is paired for now. */
export type PoolCount = Record<"offers" | "demands" | "matches" | "listeners", number> & {
  suspended: boolean;
};

type OwnerGroup<Leg, Ear> = Group<Offer<Leg>> & { readonly ears: Set<Ear> };

type Pool<Leg, Ear> = {
  readonly name: string;
  /** Oldest first, both; while it is not suspended at most one of them is not empty. */
  readonly offers: Set<Offer<Leg>>;
  readonly demands: Set<Demand<Leg>>;
  readonly groups: Map<string, OwnerGroup<Leg, Ear>>;
  readonly waitingOf: Holdings;
  readonly favourites: Map<string, string>;
  matches: number;
  suspended: boolean;
};

/**
 * Where many wait and each comer is given one of them.
 *
 *     offer    waiting ──▶ met ──▶ parted
 *                 └──── left           └──(again)─┐
 *     demand   waiting ──▶ met ──▶ parted         │
 *              ▲  └──── left, lonely              │
 *              └──────────────────────────────────┘
 *
 * A demand never waits while an offer does, and no demand is overtaken by a later one of its pool. An
 * offer is used once: when its partner leaves it is over, whatever it still says. An owner is whose
 * the offers are, one agent or one address; its ears hear what becomes of them.
 */
export class Pools<Leg, Ear = never> {
  readonly #settings: PoolsTerms;
  readonly #events: PoolEvents<Leg, Ear>;
  readonly #pools = new Map<string, Pool<Leg, Ear>>();
  readonly #matches = new Map<Offer<Leg> | Demand<Leg>, Match<Leg>>();
  readonly #patience = new Map<Demand<Leg>, NodeJS.Timeout>();
  #offers = 0;
  #demands = 0;

  constructor(settings: PoolsTerms, events: PoolEvents<Leg, Ear>) {
    this.#settings = settings;
    this.#events = events;
  }

  /** What waits and what is matched, pool by pool. */
  list(): Array<PoolCount & { pool: string }> {
    return [...this.#pools.values()].map(({ name: pool, matches, suspended, ...held }) => {
      const listeners = [...held.groups.values()].reduce((sum, { ears }) => sum + ears.size, 0);
      const [offers, demands] = [held.offers.size, held.demands.size];
      return { pool, offers, demands, matches, listeners, suspended };
    });
  }

  /** Offers a leg; the oldest demand takes it at once. Throws `overloaded` when too many wait. */
  offer(offer: Offer<Leg>): void {
    const settings = this.#settings.pool(offer.pool);
    const pool = this.#open(offer.pool);
    const group = this.#groupOf(pool, offer.owner);
    const full =
      group.offers.size >= settings.offers_per_owner_max
        ? `${group.offers.size} connections of this agent`
        : pool.offers.size >= settings.offers_max
          ? `${pool.offers.size} connections for ${offer.pool}`
          : this.#offers >= this.#settings.offers_max
            ? `${this.#offers} connections`
            : "";
    const [demand] = pool.suspended ? [] : pool.demands;
    if (full && !demand) {
      this.#tidy(pool, offer.owner);
      throw new Fault("overloaded", `${full} are waiting already`);
    }
    pool.offers.add(offer);
    group.offers.add(offer);
    this.#offers += 1;
    this.#serve(pool);
  }

  /**
   * Asks for an offer, and waits for one if there is room. Throws `unreachable` if there is none and
   * nobody may wait, `overloaded` if too many do.
   */
  demand(demand: Demand<Leg>): void {
    const settings = this.#settings.pool(demand.pool);
    const pool = this.#open(demand.pool);
    try {
      if (settings.needs_listener && ![...pool.groups.values()].some(({ ears }) => ears.size > 0)) {
        throw new Fault("unreachable", `nobody listens who serves ${demand.pool}`);
      }
      if (pool.offers.size === 0 || pool.suspended) this.#admit(pool, demand, settings);
    } catch (reason) {
      this.#tidy(pool);
      throw reason;
    }
    pool.demands.add(demand);
    pool.waitingOf.take(demand.source);
    this.#demands += 1;
    this.#wait(pool, demand, settings.patience_ms);
    this.#serve(pool);
  }

  /**
   * A leg left. If it waited it is forgotten; if it was matched, its partner hears so. `failed` says
   * that the offer did not do what it was there for. False if it had left already.
   */
  leave(leaver: Offer<Leg> | Demand<Leg>, { failed = false } = {}): boolean {
    const match = this.#matches.get(leaver);
    if (match) {
      const ears = this.#part(match, failed);
      this.#events.parted(match, leaver === match.offer ? "offer" : "demand", ears);
      return true;
    }
    const pool = this.#pools.get(leaver.pool);
    if (!pool) return false;
    const waited = "owner" in leaver ? this.#take(pool, leaver) : this.#unqueue(pool, leaver);
    this.#tidy(pool, "owner" in leaver ? leaver.owner : undefined);
    return waited;
  }

  /**
   * The offer failed a demand that has lost nothing yet: the demand takes the next, before all
   * others, with patience anew. False if it is not matched (any more), or nobody is there to take.
   */
  again(demand: Demand<Leg>): boolean {
    const match = this.#matches.get(demand);
    const pool = this.#pools.get(demand.pool);
    if (!match || !pool) return false;
    const { queue_max, patience_ms } = this.#settings.pool(demand.pool);
    if (queue_max === 0 && pool.offers.size === 0) return false;
    const later = [...pool.demands];
    pool.demands.clear();
    for (const each of [demand, ...later]) pool.demands.add(each);
    pool.waitingOf.take(demand.source);
    this.#demands += 1;
    this.#wait(pool, demand, patience_ms);
    this.#events.parted(match, "offer", this.#part(match, true));
    this.#serve(pool);
    return true;
  }

  /** Somebody hears from now on what becomes of an owner's offers. Call the result when it is gone. */
  listen(name: string, owner: string, ear: Ear): () => void {
    const pool = this.#open(name);
    const { ears } = this.#groupOf(pool, owner);
    ears.add(ear);
    return () => {
      ears.delete(ear);
      this.#tidy(pool, owner);
    };
  }

  /** Matches nobody for now; what is matched stays. */
  suspend(name: string): void {
    this.#open(name).suspended = true;
  }

  resume(name: string): void {
    const pool = this.#pools.get(name);
    if (!pool) return;
    pool.suspended = false;
    this.#serve(pool);
    this.#tidy(pool);
  }

  /** Forgets all that waits and brings it back for its owners to close. What is matched stays. */
  clear(): Leg[] {
    const waiting = [...this.#pools.values()].flatMap((pool) => [...pool.offers, ...pool.demands]);
    for (const each of waiting) this.leave(each);
    return waiting.map(({ leg }) => leg);
  }

  /** Matches from the oldest demand on. An event may bring somebody or end a match; that is seen too. */
  #serve(pool: Pool<Leg, Ear>): void {
    while (!pool.suspended) {
      const [demand] = pool.demands;
      const { policies } = this.#settings.pool(pool.name);
      const offer = demand && choose(policies, pool, demand.key);
      if (!demand || !offer) return;
      if (policies.includes("sticky")) remember(pool, demand.key, offer.owner);
      const group = this.#groupOf(pool, offer.owner);
      this.#unqueue(pool, demand);
      this.#take(pool, offer);
      const match = { offer, demand };
      this.#matches.set(offer, match).set(demand, match);
      pool.matches += 1;
      group.matches += 1;
      group.served += 1;
      this.#events.met(match, [...group.ears]);
    }
  }

  #admit(pool: Pool<Leg, Ear>, { source }: Demand<Leg>, settings: PoolTerms): void {
    if (settings.queue_max === 0) {
      throw new Fault("unreachable", `nobody waits for clients of ${pool.name}`);
    }
    const { demands } = pool;
    if (demands.size >= settings.queue_max || this.#demands >= this.#settings.queue_max) {
      throw new Fault("overloaded", `${demands.size} clients of ${pool.name} are waiting already`);
    }
    if (!pool.waitingOf.take(source, settings.queue_per_source_max)) {
      throw new Fault("overloaded", `too many clients of ${source} are waiting already`);
    }
    pool.waitingOf.release(source);
  }

  #wait(pool: Pool<Leg, Ear>, demand: Demand<Leg>, patience_ms: number): void {
    const giveUp = (): void => {
      this.#unqueue(pool, demand);
      this.#tidy(pool);
      this.#events.lonely(demand);
    };
    this.#patience.set(demand, setTimeout(giveUp, patience_ms));
  }

  #unqueue(pool: Pool<Leg, Ear>, demand: Demand<Leg>): boolean {
    if (!pool.demands.delete(demand)) return false;
    clearTimeout(this.#patience.get(demand));
    this.#patience.delete(demand);
    pool.waitingOf.release(demand.source);
    this.#demands -= 1;
    return true;
  }

  #take(pool: Pool<Leg, Ear>, offer: Offer<Leg>): boolean {
    if (!pool.offers.delete(offer)) return false;
    pool.groups.get(offer.owner)?.offers.delete(offer);
    this.#offers -= 1;
    return true;
  }

  /** Ends a match, and brings back who wants to hear of it. */
  #part(match: Match<Leg>, failed: boolean): Ear[] {
    const { offer, demand } = match;
    this.#matches.delete(offer);
    this.#matches.delete(demand);
    const pool = this.#open(offer.pool);
    const group = this.#groupOf(pool, offer.owner);
    pool.matches -= 1;
    group.matches -= 1;
    const { failures_max, rest_ms } = this.#settings.pool(offer.pool);
    group.failures = failed ? group.failures + 1 : 0;
    if (failed && group.failures >= failures_max) {
      group.rests_until = performance.now() + rest_ms;
    }
    const ears = [...group.ears];
    this.#tidy(pool, offer.owner);
    return ears;
  }

  #open(name: string): Pool<Leg, Ear> {
    const known = this.#pools.get(name);
    if (known) return known;
    this.#settings.pool(name);
    const pool: Pool<Leg, Ear> = {
      name,
      offers: new Set(),
      demands: new Set(),
      groups: new Map(),
      waitingOf: new Holdings(Number.MAX_SAFE_INTEGER),
      favourites: new Map(),
      matches: 0,
      suspended: false,
    };
    this.#pools.set(name, pool);
    return pool;
  }

  #groupOf(pool: Pool<Leg, Ear>, owner: string): OwnerGroup<Leg, Ear> {
    const known = pool.groups.get(owner);
    if (known) return known;
    for (const each of pool.groups.keys()) this.#tidy(pool, each); // some have only rested
    const group = {
      owner,
      offers: new Set<Offer<Leg>>(),
      ears: new Set<Ear>(),
      matches: 0,
      served: 0,
      failures: 0,
      rests_until: 0,
    };
    pool.groups.set(owner, group);
    this.#pools.set(pool.name, pool);
    return group;
  }

  /** Owners and pools that have nothing here cost nothing. */
  #tidy(pool: Pool<Leg, Ear>, owner?: string): void {
    const group = owner === undefined ? undefined : pool.groups.get(owner);
    const rests = group && group.rests_until > performance.now();
    if (group && !rests && group.offers.size + group.ears.size + group.matches === 0) {
      pool.groups.delete(group.owner);
    }
    const idle = pool.offers.size + pool.demands.size + pool.groups.size + pool.matches === 0;
    const open = this.#pools.get(pool.name) === pool;
    if (open && idle && !pool.suspended) this.#pools.delete(pool.name);
  }
}
