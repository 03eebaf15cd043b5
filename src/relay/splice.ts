import type { Ending, Outcome, Side } from "./leg.ts";

/** Bytes going both ways between two legs. The splice owns both sockets until it is over, and closes them. */
export interface Splice {
  /** Resolves once both sockets are closed; never rejects. */
  readonly over: Promise<Outcome>;
  /** How many bytes each side has sent until now. */
  readonly bytes: Readonly<Record<Side, number>>;
  /** When bytes last moved, in milliseconds of `performance.now()`, which no change of the clock moves. */
  readonly moved_at: number;
  /** Ends it from our side: both legs are reset, so that neither takes the cut for an end. */
  cut(ending: Ending): void;
}
