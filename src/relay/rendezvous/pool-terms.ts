import type { Policy } from "./policy.ts";

/** All of these are read when they are needed, so that they may change. */
export type PoolTerms = {
  /** How an offer is chosen; where one policy has no answer the next is asked, and at last `fifo`. */
  policies: readonly Policy[];
  /** How many demands may wait for an offer (0 refuses them at once, as RelayServer does), and how long. */
  queue_max: number;
  patience_ms: number;
  /** Demands of one source that may wait at the same time. */
  queue_per_source_max: number;
  /** Offers that may wait: in this pool, and of one owner. */
  offers_max: number;
  offers_per_owner_max: number;
  /** Refuse demands while no owner listens to announcements, as RelayServer does. */
  needs_listener: boolean;
  /** After so many failed pairs in a row an owner is passed over for a while, if there are others. */
  failures_max: number;
  rest_ms: number;
};

export type PoolsTerms = {
  /** The pool of this name; throws if there may be none, but never for one that is in use. */
  pool(name: string): PoolTerms;
  /** In all pools together. */
  offers_max: number;
  queue_max: number;
};
