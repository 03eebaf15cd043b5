/**
 * A log in a Redis list that the original programs can read and write too (eps-protocol 9.2): one
 * element for each entry, and one RPUSH for each batch, so that a batch is stored whole or not at all.
 *
 * How durable an entry is when `append` resolves is up to that Redis (`appendonly`, `appendfsync`).
 * Several processes may append to one list. It only ever grows; when it is shorter than it was,
 * somebody emptied or restored it, and neither reads nor appends go on.
 */
import { ErrorReply } from "redis";
import { Backoff, Deadline } from "../core/deadline.ts";
import { explain, Fault } from "../core/fault.ts";
import type { Log } from "../core/log.ts";
import { Scope } from "../core/scope.ts";
import { decodeEntry, encodeEntry } from "./entry.ts";
import {
  connectRedis,
  inTime,
  type RedisConnection,
  type RedisSettings,
} from "./redis-connection.ts";
import { isTransient, refusal } from "./redis-replies.ts";
import type { Store, StoredEntry } from "./store.ts";

/** Redis must answer now, and take our password, database and key; later it may be away for a while. */
export async function openRedisStore(
  settings: RedisSettings,
  { log }: { log: Log },
): Promise<Store> {
  const where = settings.addresses.join(", ");
  try {
    const connection = await connectRedis(settings);
    try {
      await inTime(connection.lLen(settings.key));
    } catch (reason) {
      connection.destroy();
      throw reason;
    }
    return new RedisStore({ settings, connection, log: log.child({ redis: where }) });
  } catch (reason) {
    const what = `the store redis ${where} cannot be opened`;
    throw (
      refusal(what, reason) ??
      new Fault("unreachable", `${what}: ${explain(reason)} (start it, or correct the addresses)`, {
        cause: reason,
      })
    );
  }
}

type Open = { settings: RedisSettings; connection: RedisConnection; log: Log };

class RedisStore implements Store {
  readonly #settings: RedisSettings;
  readonly #log: Log;
  readonly #scope = new Scope();
  #connection: RedisConnection;
  /** Where the next read begins. */
  #position = 0;
  /** The greatest length the list is known to have had. */
  #length = 0;
  /** A batch whose RPUSH was lost together with its connection, and may yet turn up behind `from`. */
  #doubt: { from: number; first: Buffer } | undefined;
  #lastTurn: Promise<unknown> = Promise.resolve();

  constructor({ settings, connection, log }: Open) {
    this.#settings = settings;
    this.#connection = connection;
    this.#log = log;
    this.#scope.defer(() => this.#connection.destroy());
    this.#scope.defer(() => this.#lastTurn);
  }

  read(): Promise<StoredEntry[]> {
    return this.#inTurn(async () => {
      const found = await this.#since(this.#position).catch((reason) => {
        throw this.#told("the entries cannot be read", reason);
      });
      const entries = found.map((bytes, i) => decoded(bytes, this.#position + i));
      this.#position += found.length;
      const { first } = this.#doubt ?? {};
      if (first && found.some((bytes) => bytes.equals(first))) this.#doubt = undefined;
      return entries;
    });
  }

  async append(entries: StoredEntry[]): Promise<void> {
    // Before its turn comes, so that what was asked for is stored even if the caller reuses a buffer.
    const batch = entries.map(encodeEntry);
    const [first] = batch;
    if (first) await this.#inTurn(() => this.#append(batch, first));
  }

  async #append(batch: Buffer[], first: Buffer): Promise<void> {
    const from = await this.#ready().catch((reason) => {
      throw this.#told("nothing was stored", reason);
    });
    let length: number;
    try {
      length = await inTime(this.#connection.rPush(this.#settings.key, batch));
    } catch (reason) {
      this.#connection.destroy();
      if (reason instanceof ErrorReply) throw this.#told("nothing was stored", reason);
      this.#log.warn({ err: reason }, "no answer to an append; looking for its entries in redis");
      this.#doubt = { from, first };
      return await this.#settle(this.#doubt);
    }
    this.#length = from + batch.length;
    if (length < this.#length) throw shrunk(); // just now, between the question and the RPUSH
  }

  /** The list's length, if it is the list we know and holds nothing that its caller was not told of. */
  async #ready(): Promise<number> {
    if (this.#doubt && (await this.#holds(this.#doubt))) {
      throw new Fault("conflict", "an earlier append got through after all; restart this process");
    }
    this.#doubt = undefined;
    return await this.#knownLength();
  }

  /**
   * Resolves if the batch got through, and throws if it did not or if nobody can tell. What is not
   * there could still arrive if the network held it back, so the doubt stays until the next append.
   */
  async #settle(doubt: { from: number; first: Buffer }): Promise<void> {
    const stored = await this.#holds(doubt).catch((reason) => {
      const why = this.#told("it is not known whether the entries were stored", reason);
      throw new Fault("timeout", `${why.message}; look for them before you try again`, {
        cause: reason,
      });
    });
    if (!stored) {
      throw new Fault("unreachable", "nothing was stored: redis went away meanwhile; try again");
    }
    this.#doubt = undefined;
  }

  /** An entry's id is random, so the same bytes are the same entry; and a batch is there as a whole. */
  async #holds({ from, first }: { from: number; first: Buffer }): Promise<boolean> {
    return (await this.#since(from)).some((bytes) => bytes.equals(first));
  }

  /** What the list holds from `from` on, fetched in pages. */
  async #since(from: number): Promise<Buffer[]> {
    const { key } = this.#settings;
    const length = await this.#knownLength();
    const found: Buffer[] = [];
    while (from + found.length < length) {
      const start = from + found.length;
      const stop = Math.min(start + PAGE_ENTRIES, length) - 1;
      const page = await this.#ask((connection) => connection.lRange(key, start, stop));
      if (page.length === 0) throw shrunk();
      found.push(...page);
    }
    return found;
  }

  async #knownLength(): Promise<number> {
    const length = await this.#ask((connection) => connection.lLen(this.#settings.key));
    if (length < this.#length) {
      const had = this.#length;
      this.#log.error({ had, has: length, key: this.#settings.key }, "the list has become shorter");
      throw shrunk();
    }
    this.#length = length;
    return length;
  }

  /** Asks what may be asked twice, and connects anew as often as it takes, until patience ends. */
  async #ask<T>(question: (connection: RedisConnection) => Promise<T>): Promise<T> {
    using patience = new Deadline(PATIENCE_MS, "redis", this.#scope.signal);
    const backoff = new Backoff();
    for (;;) {
      try {
        if (!this.#connection.isReady) this.#connection = await connectRedis(this.#settings);
        return await inTime(question(this.#connection));
      } catch (reason) {
        if (reason instanceof Fault && reason.fault !== "timeout") throw reason;
        if (reason instanceof ErrorReply && !isTransient(reason)) throw reason;
        this.#connection.destroy();
        this.#log.warn({ err: reason }, "redis does not answer");
        await backoff.wait(patience.signal).catch(() => {
          throw reason;
        });
      }
    }
  }

  /** What a stranger may hear: not where our Redis is. The log knows. */
  #told(what: string, reason: unknown): Fault {
    this.#log.error({ err: reason }, what);
    return (
      refusal(what, reason) ??
      new Fault("unreachable", `${what}: redis does not answer; try again later`, { cause: reason })
    );
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    if (this.#scope.signal.aborted) return Promise.reject(new Error("the store is closed"));
    const turn = this.#lastTurn.then(work);
    this.#lastTurn = turn.catch(() => {});
    return turn;
  }

  /** Finishes what it was told before, but no longer waits for a Redis that does not answer. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#scope[Symbol.asyncDispose]();
  }
}

function shrunk(): Fault {
  return new Fault(
    "conflict",
    "the store has fewer entries than it had: somebody emptied or restored it. Put back what is missing, or restart this process to go on with what is there",
  );
}

function decoded(bytes: Buffer, index: number): StoredEntry {
  try {
    return decodeEntry(bytes);
  } catch (reason) {
    const advice = `is not one of ours; look at it with LINDEX, and give this program a key of its own`;
    throw new Fault("malformed", `element ${index} of the list ${advice}: ${explain(reason)}`, {
      cause: reason,
    });
  }
}

const PAGE_ENTRIES = 256;
const PATIENCE_MS = 15_000;
