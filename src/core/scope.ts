/**
 * Owns what was opened and closes it once, in reverse order.
 *
 * `signal` fires first, so that loops stop taking new work before the things they work with are
 * gone. A close that fails does not spare the others. (AsyncDisposableStack arrives with Node 24.)
 */
export class Scope implements AsyncDisposable {
  readonly #controller = new AbortController();
  readonly #closers: Array<() => unknown> = [];
  #closing: Promise<void> | undefined;

  constructor(parent?: AbortSignal) {
    if (!parent) return;
    const abort = (): void => this.#controller.abort(parent.reason);
    if (parent.aborted) abort();
    else parent.addEventListener("abort", abort, { once: true, signal: this.signal });
  }

  /** Aborts when the scope closes, or when its parent does. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Hands over a resource: from here on the scope closes it. */
  use<T extends AsyncDisposable>(resource: T): T {
    this.defer(() => resource[Symbol.asyncDispose]());
    return resource;
  }

  defer(close: () => unknown): void {
    if (this.#closing) throw new Error("the scope is closing and can own nothing new");
    this.#closers.push(close);
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#controller.abort();
    const failures: unknown[] = [];
    for (const close of this.#closers.reverse()) {
      try {
        await close();
      } catch (reason) {
        failures.push(reason);
      }
    }
    if (failures.length > 0) throw new AggregateError(failures, "not everything closed cleanly");
  }
}
