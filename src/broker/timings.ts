/** A part of a call's way: asking a proxy to bring us together, TCP and TLS, or the call itself. */
type Part = "directory" | "rendezvous" | "connect" | "call";

/** How long the parts of one call's way took, in milliseconds. Parts that it did not need are missing. */
export class Timings {
  readonly #took = new Map<Part, number>();

  /** Adds what `work` takes, whether it works or not. */
  async measure<T>(part: Part, work: () => Promise<T>): Promise<T> {
    const begun = performance.now();
    const within = this.#took.get("connect") ?? 0;
    try {
      return await work();
    } finally {
      // A connection is dialled by its first call, and what that took is told apart.
      const connecting = part === "call" ? (this.#took.get("connect") ?? 0) - within : 0;
      this.add(part, performance.now() - begun - connecting);
    }
  }

  add(part: Part, ms: number): void {
    this.#took.set(part, (this.#took.get(part) ?? 0) + ms);
  }

  /** The value of a `Server-Timing` header (W3C Server Timing, 4). */
  toString(): string {
    return [...this.#took].map(([part, ms]) => `${part};dur=${ms.toFixed(2)}`).join(", ");
  }
}
