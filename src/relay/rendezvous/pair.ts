import { hash, randomBytes } from "node:crypto";
import { Fault } from "../../core/fault.ts";
import { beginningOf } from "../../wire/beginning.ts";
import type { Names, Side } from "../leg.ts";

export const TOKEN_SIZE = 32;

/** Two that will meet: each has a secret of its own, so that neither can take the other's place. */
type Pairing = {
  readonly names: Names;
  readonly tokens: Record<Side, Buffer>;
};

type Table<Leg> = Pairing & {
  readonly keys: Record<Side, string>;
  seats: Partial<Record<Side, Leg>>;
  timer: NodeJS.Timeout;
  /** Whether both sides are (still) to come. */
  expected: boolean;
};

type PairSettings = {
  patience_ms: number;
  pending_max: number;
  pending_per_caller_max: number;
};

type PairEvents<Leg> = {
  met(pairing: Pairing, legs: Record<Side, Leg>): void;
  /** Patience ran out; `legs` are those who waited in vain. */
  lonely(pairing: Pairing, legs: Leg[]): void;
};

/** A token that nothing else at a port can be taken for: less than half a bit of it is known for that. */
function mint(): Buffer {
  for (;;) {
    const token = randomBytes(TOKEN_SIZE);
    if (beginningOf(token.readUInt8()) === "token") return token;
  }
}

/**
 * Where two legs meet that were both told to come.
 *
 *     expected ──first leg──▶ waiting ──second leg──▶ met
 *        └────── patience ───────┴──▶ lonely
 *
 * A token works once, for one side of one pair, until patience runs out, and is forgotten on every
 * way out, so a stranger who guesses late finds nothing. Tokens are looked up by a keyed hash, so
 * the time a look-up takes says nothing about the tokens that exist.
 */
export class Pairs<Leg> {
  readonly #settings: PairSettings;
  readonly #events: PairEvents<Leg>;
  readonly #key = randomBytes(32);
  readonly #tables = new Map<string, { table: Table<Leg>; side: Side }>();
  readonly #pendingOf = new Map<string, number>();
  #pending = 0;

  constructor(settings: PairSettings, events: PairEvents<Leg>) {
    this.#settings = settings;
    this.#events = events;
  }

  /** How many pairs are expected or half seated. */
  get pending(): number {
    return this.#pending;
  }

  /** Expects both sides from now on. Throws `overloaded` when too many are expected already. */
  expect(names: Names): Pairing {
    const ofCaller = this.#pendingOf.get(names.caller) ?? 0;
    if (ofCaller >= this.#settings.pending_per_caller_max) {
      throw new Fault("overloaded", `${names.caller} already has ${ofCaller} connections pending`);
    }
    if (this.#pending >= this.#settings.pending_max) {
      throw new Fault("overloaded", `${this.#pending} connections are already pending here`);
    }
    const tokens = { caller: mint(), callee: mint() };
    const keys = { caller: this.#keyOf(tokens.caller), callee: this.#keyOf(tokens.callee) };
    const timer = this.#arm(() => table);
    const table: Table<Leg> = { names, tokens, keys, seats: {}, timer, expected: true };
    this.#tables.set(keys.caller, { table, side: "caller" });
    this.#tables.set(keys.callee, { table, side: "callee" });
    this.#pendingOf.set(names.caller, ofCaller + 1);
    this.#pending += 1;
    return table;
  }

  /** Starts patience anew for a pairing of ours, for the side that has only now been told its token. */
  renew(pairing: Pairing): void {
    const table = pairing as Table<Leg>;
    if (!table.expected) return;
    clearTimeout(table.timer);
    table.timer = this.#arm(() => table);
  }

  /** Expects this pair no longer. A leg that waits for it is brought back for its owner to close. */
  forget(pairing: Pairing): Leg[] {
    const table = pairing as Table<Leg>;
    return table.expected ? this.#clear(table) : [];
  }

  /** Seats a leg. Undefined if nobody expects this token (any more); otherwise the pairing it is for. */
  seat(token: Buffer, leg: Leg): Pairing | undefined {
    const key = this.#keyOf(token);
    const found = this.#tables.get(key);
    if (!found) return undefined;
    const { table, side } = found;
    this.#tables.delete(key);
    table.seats[side] = leg;
    const { caller, callee } = table.seats;
    if (caller && callee) {
      this.#clear(table);
      this.#events.met(table, { caller, callee });
    }
    return table;
  }

  /** Forgets everything; brings back the legs that were waiting. */
  clear(): Leg[] {
    const tables = new Set([...this.#tables.values()].map(({ table }) => table));
    return [...tables].flatMap((table) => this.#clear(table));
  }

  #arm(table: () => Table<Leg>): NodeJS.Timeout {
    return setTimeout(() => {
      this.#events.lonely(table(), this.#clear(table()));
    }, this.#settings.patience_ms);
  }

  #clear(table: Table<Leg>): Leg[] {
    table.expected = false;
    clearTimeout(table.timer);
    this.#tables.delete(table.keys.caller);
    this.#tables.delete(table.keys.callee);
    const { caller } = table.names;
    const left = (this.#pendingOf.get(caller) ?? 0) - 1;
    if (left > 0) this.#pendingOf.set(caller, left);
    else this.#pendingOf.delete(caller);
    this.#pending -= 1;
    return Object.values(table.seats);
  }

  #keyOf(token: Buffer): string {
    return hash("sha256", Buffer.concat([this.#key, token]), "base64");
  }
}
