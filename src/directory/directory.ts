import type { Entry } from "./entry.ts";

/** Who exists, where, and what they offer: what every directory answers, wherever it reads from. */
export interface Directory extends AsyncDisposable {
  /** From memory; never waits. */
  entry(name: string): Entry | undefined;
  entries(): Entry[];
  /** Calls back after every change; returns how to stop that. */
  onChange(listener: () => void): () => void;
  /** Resolves once there was a first successful read; rejects with a fault when the signal aborts. */
  ready(signal: AbortSignal): Promise<void>;
}
