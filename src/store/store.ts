/** What a log keeps. What `type` and `data` mean is known upstairs; here they are bytes. */
export type StoredEntry = { type: number; id: Buffer; data: Buffer };

/** An append-only log of entries. Whoever opens one owns it, and closes it by disposing it. */
export interface Store extends AsyncDisposable {
  /** Everything that was added since the last read, oldest first. */
  read(): Promise<StoredEntry[]>;
  /** All or nothing, on disk when it resolves. */
  append(entries: StoredEntry[]): Promise<void>;
}
