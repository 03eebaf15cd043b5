import { decodeEntry, encodeEntry } from "./entry.ts";
import type { Store, StoredEntry } from "./store.ts";

/** A log that lasts as long as its process: for tests, and for trying things out. */
export function openMemoryStore(): Store {
  return new MemoryStore();
}

class MemoryStore implements Store {
  #unread: StoredEntry[] = [];
  #closed = false;

  async read(): Promise<StoredEntry[]> {
    this.#assertOpen();
    const entries = this.#unread;
    this.#unread = [];
    return entries;
  }

  async append(entries: StoredEntry[]): Promise<void> {
    this.#assertOpen();
    // A copy, and under the same limits as in the other stores.
    this.#unread.push(...entries.map((entry) => decodeEntry(encodeEntry(entry))));
  }

  #assertOpen(): void {
    if (this.#closed) throw new Error("the store is closed");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
  }
}
