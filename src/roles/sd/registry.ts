import { randomBytes } from "node:crypto";
import { aborted, Deadline, orAbort } from "../../core/deadline.ts";
import { explain } from "../../core/fault.ts";
import type { Log } from "../../core/log.ts";
import type { Trust } from "../../directory/certificates.ts";
import { Ledger } from "../../directory/ledger.ts";
import type { SignedRecord } from "../../directory/record.ts";
import type { Store, StoredEntry } from "../../store/store.ts";

/** The type byte of a record in a datastore (eps-protocol 8.6). */
const RECORD = 1;
const ID_SIZE = 16;

/** The records of a service directory: in a store, checked, one batch after the other. */
export class Registry {
  readonly #store: Store;
  #ledger: Ledger;
  #turn: Promise<unknown> = Promise.resolve();
  #news = new AbortController();
  #waiting = 0;
  #whyUnwritten: string | undefined;

  private constructor(store: Store, ledger: Ledger) {
    this.#store = store;
    this.#ledger = ledger;
  }

  /** Reads what the store has. Records that break a rule are left out and told to the log. */
  static async open(store: Store, { trust, log }: { trust: Trust; log: Log }): Promise<Registry> {
    const stored: unknown[] = [];
    for (const { type, id, data } of await store.read()) {
      if (type !== RECORD) {
        log.warn(
          { type, id: id.toString("hex") },
          "the datastore holds an entry that is no record",
        );
        continue;
      }
      stored.push(parsed(data));
    }
    const ledger = await Ledger.open(trust, stored, (reason) => {
      log.warn({ reason }, "a stored record was left out");
    });
    log.info({ records: ledger.records.length }, "directory read");
    return new Registry(store, ledger);
  }

  get ledger(): Ledger {
    return this.#ledger;
  }

  /** How many wait for news. */
  get waiting(): number {
    return this.#waiting;
  }

  /** Why the last batch did not get into the store; nothing if it did. */
  get whyUnwritten(): string | undefined {
    return this.#whyUnwritten;
  }

  /** Takes a batch as a whole or, with a fault that says why, not at all. On disk when it resolves. */
  async submit(batch: SignedRecord[]): Promise<void> {
    const mine = this.#turn.then(async () => {
      if (batch.length === 0) return;
      const next = await this.#ledger.propose(batch);
      await this.#write(
        batch.map((record) => ({
          type: RECORD,
          id: randomBytes(ID_SIZE),
          data: Buffer.from(JSON.stringify(record)),
        })),
      );
      this.#ledger = next;
      this.wakeAll();
    });
    this.#turn = mine.catch(() => {});
    await mine;
  }

  async #write(entries: StoredEntry[]): Promise<void> {
    try {
      await this.#store.append(entries);
      this.#whyUnwritten = undefined;
    } catch (reason) {
      this.#whyUnwritten = explain(reason);
      throw reason;
    }
  }

  /** Gives everybody who waits for news an answer now. */
  wakeAll(): void {
    this.#news.abort();
    this.#news = new AbortController();
  }

  /** The records after a hash; if there are none, waits for some until the time is up. */
  async after(
    hash: string,
    wait_ms: number,
    signal: AbortSignal,
  ): Promise<readonly SignedRecord[]> {
    const now = this.#ledger.after(hash);
    if (now.length > 0 || wait_ms === 0) return now;
    // The deadline takes its listener away again, so that those who wait in vain leave nothing behind.
    using news = new Deadline(wait_ms, "news", this.#news.signal);
    this.#waiting += 1;
    try {
      await orAbort(aborted(news.signal), signal);
    } finally {
      this.#waiting -= 1;
    }
    return this.#ledger.after(hash);
  }
}

/** What is no JSON is left to the ledger, which says which record it left out and why. */
function parsed(data: Buffer): unknown {
  const text = data.toString("utf8");
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
