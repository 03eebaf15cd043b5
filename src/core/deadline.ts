import { setMaxListeners } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { Fault } from "./fault.ts";

/**
 * A signal that aborts with its parent, or with a `timeout` fault after `ms`.
 *
 * Dispose it when the wait is over (`using deadline = new Deadline(…)`): the timer and the listener
 * on the parent go with it. `AbortSignal.any` would leave a trace on a long-lived parent for each.
 */
export class Deadline implements Disposable {
  readonly #controller = new AbortController();
  readonly #release: () => void;

  constructor(ms: number, waitingFor: string, parent?: AbortSignal) {
    const abort = (reason: unknown): void => this.#controller.abort(reason);
    const follow = (): void => abort(parent?.reason);
    const timer = setTimeout(() => {
      abort(new Fault("timeout", `${waitingFor} took longer than ${ms / 1000} s`));
    }, ms);
    if (parent) setMaxListeners(0, parent); // any number of waits may hang on one signal
    if (parent?.aborted) follow();
    else parent?.addEventListener("abort", follow, { once: true });
    this.#release = () => {
      clearTimeout(timer);
      parent?.removeEventListener("abort", follow);
    };
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  [Symbol.dispose](): void {
    this.#release();
  }
}

/** Settles as `work` does, or rejects with the signal's reason as soon as it aborts. `work` itself goes on. */
export async function orAbort<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  work.catch(() => {}); // nobody may be left to hear of it, and that must not end the process
  signal.throwIfAborted();
  let abort = (): void => {};
  const aborted = new Promise<never>((_, reject) => {
    abort = () => reject(signal.reason);
    signal.addEventListener("abort", abort, { once: true });
  });
  try {
    return await Promise.race([work, aborted]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}

/** Resolves when the signal aborts. */
export function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    signal.addEventListener("abort", () => resolve(), { once: true });
  });
}

/**
 * The pauses between attempts at something that keeps failing: 250 ms, doubling to the longest (5 s
 * unless told otherwise), each cut by up to half at random so that many peers do not return in step.
 * `wait` ends early when `hurry` is called, and rejects when the signal aborts.
 */
export class Backoff {
  #pause_ms = FIRST_PAUSE_MS;
  #hurry = new AbortController();
  readonly #longest_ms: number;

  constructor(longest_ms = LONGEST_PAUSE_MS) {
    this.#longest_ms = longest_ms;
  }

  async wait(signal: AbortSignal): Promise<void> {
    const pause_ms = this.#pause_ms * (1 - Math.random() / 2);
    this.#pause_ms = Math.min(this.#pause_ms * 2, this.#longest_ms);
    const hurry = new AbortController();
    const stop = (): void => hurry.abort();
    this.#hurry = hurry;
    signal.addEventListener("abort", stop, { once: true });
    if (signal.aborted) stop();
    await sleep(pause_ms, undefined, { signal: hurry.signal }).catch(() => {});
    signal.removeEventListener("abort", stop);
    signal.throwIfAborted();
  }

  /** The attempt worked: the next pause is short again. */
  reset(): void {
    this.#pause_ms = FIRST_PAUSE_MS;
  }

  /** Something changed: try again now. */
  hurry(): void {
    this.reset();
    this.#hurry.abort();
  }
}

const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 5_000;
