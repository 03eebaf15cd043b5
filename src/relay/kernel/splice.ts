import type { Ending, Outcome, Side } from "../leg.ts";
import type { Splice } from "../splice.ts";
import {
  CIRCUIT_FIELDS,
  type Command,
  FROM_CALLEE,
  FROM_CALLER,
  MOVED_AT,
  type Shared,
} from "./messages.ts";

/** A circuit in the worker: its counters are read where the worker writes them. */
export class KernelSplice implements Splice {
  readonly over: Promise<Outcome>;
  readonly #worker: { shared: Shared; post(command: Command): void };
  readonly #circuit: number;
  #settle: (outcome: Outcome) => void = () => {};
  #outcome: Outcome | undefined;

  constructor(worker: { shared: Shared; post(command: Command): void }, circuit: number) {
    this.#worker = worker;
    this.#circuit = circuit;
    this.over = new Promise((resolve) => {
      this.#settle = resolve;
    });
  }

  get bytes(): Record<Side, number> {
    if (this.#outcome) return this.#outcome.bytes;
    return { caller: this.#field(FROM_CALLER), callee: this.#field(FROM_CALLEE) };
  }

  get moved_at(): number {
    return this.#field(MOVED_AT);
  }

  cut(ending: Ending): void {
    if (!this.#outcome) this.#worker.post(["cut", this.#circuit, ending]);
  }

  /** The worker has closed both sides. From here on the number is another circuit's. */
  end(ending: Ending, by: Outcome["by"]): void {
    this.#outcome = { ending, by, bytes: this.bytes };
    this.#settle(this.#outcome);
  }

  #field(field: number): number {
    return this.#worker.shared.circuits[this.#circuit * CIRCUIT_FIELDS + field] ?? 0;
  }
}
