import type { Directory } from "../../src/directory/directory.ts";
import { type Entry, emptyEntry } from "../../src/directory/entry.ts";

/** A directory in memory, whose entries a test may change. */
export class MemoryDirectory implements Directory {
  readonly #entries = new Map<string, Entry>();
  readonly #listeners = new Set<() => void>();

  constructor(...entries: Entry[]) {
    for (const entry of entries) this.#entries.set(entry.name, entry);
  }

  entry(name: string): Entry | undefined {
    return this.#entries.get(name);
  }

  entries(): Entry[] {
    return [...this.#entries.values()];
  }

  set(entry: Entry): void {
    this.#entries.set(entry.name, entry);
    for (const listener of this.#listeners) listener();
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async ready(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}

export function operator(name: string, more: Partial<Entry> = {}): Entry {
  return { ...emptyEntry(name), ...more };
}

/** A service whose methods the members of a group may call. */
export function service(group: string, ...methods: string[]): Entry["services"][number] {
  return {
    name: "service",
    permissions: [{ group, rights: ["call"] }],
    methods: methods.map((name) => ({ name, permissions: [], parameters: null })),
  };
}

export function grpcServer(settings: Entry["channels"][number]["settings"]) {
  return { type: "grpc_server", settings };
}
