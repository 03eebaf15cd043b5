/**
 * Where a circuit began: two that showed tokens, a TLS client that named a server, a client that was
 * given a connection of a pool, whatever it says or after it had greeted as ZeroMQ does, or, at a
 * private proxy, a connection that it dialled itself for one it was told about; or a ZeroMQ peer at one
 * of the ports of a switch. At a port that doors share nothing begins but strangers, who have not said a
 * byte yet by which the door could be told that they want.
 */
export const DOORS = [
  "token",
  "sni",
  "announced",
  "pool",
  "zmtp",
  "responder",
  "publisher",
  "internal",
  "shared",
] as const;
export type Door = (typeof DOORS)[number];

/** A connection in the hands of an engine. Until it is spliced it is for its owner to hang up. */
export interface Line {
  /** Closes it, unless it was spliced or hung up already. What is said last still goes out. */
  hangUp(last?: Buffer): void;
}

/** One half of a circuit: a connection whose hello has been read. What came behind the hello is still in it. */
export type Leg = {
  readonly door: Door;
  readonly line: Line;
  /** In milliseconds of `performance.now()`. */
  readonly arrived_at: number;
};

export type Side = "caller" | "callee";

/**
 * Whose the legs are (operators, the name that a client asked for, or a client's address and its pool),
 * and the request they serve. In a pool it is told as well where the server came from, and by which
 * number its agent knows this.
 */
export type Names = Record<Side, string> & {
  readonly request: string;
  readonly server?: string;
  readonly session?: number;
};

/** Two legs that met, and what is known about whom they belong to. */
export type Meeting = {
  readonly names: Names;
  readonly legs: Record<Side, Leg>;
};

/**
 * Why a circuit is over: both sides finished (`done`), one broke off (`broken`), nothing moved for
 * too long (`idle`), there were too many circuits or this one was too big or too old (`limit`), or
 * this program stopped (`shutdown`).
 */
export type Ending = "done" | "broken" | "idle" | "limit" | "shutdown";

/** The first cause of an ending, and how many bytes each side sent. */
export type Outcome = {
  readonly ending: Ending;
  readonly by: Side | "us";
  readonly bytes: Record<Side, number>;
};
