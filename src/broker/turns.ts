import { Fault } from "../core/fault.ts";

/** Read for each call, so that they may change. */
type Limits = {
  /** Calls that may be under way at once. */
  readonly calls_max: number;
  /** Calls that may wait for one of these to end. */
  readonly waiting_max: number;
};

type Waiting = { start(): void; refuse(fault: Fault): void };

/**
 * Lets so many calls go to one place at once and keeps the others waiting. Those who call take turns,
 * so that nobody waits behind all that another has asked for.
 */
export class Turns {
  readonly #where: string;
  readonly #limits: Limits;
  #underWay = 0;
  #waiting = 0;
  /** The caller whose turn is next comes first. Nobody is in here without a call that waits. */
  readonly #queues = new Map<string, Set<Waiting>>();

  /** `where` is what a caller that is refused is told. */
  constructor(where: string, limits: Limits) {
    this.#where = where;
    this.#limits = limits;
  }

  /** How many calls wait. */
  get waiting(): number {
    return this.#waiting;
  }

  get isIdle(): boolean {
    return this.#underWay === 0 && this.#waiting === 0;
  }

  /**
   * Does `work` when it is this caller's turn. Throws an `overloaded` fault if too many wait, and the
   * signal's reason if it aborts before the turn came; then `work` was never begun.
   */
  async take<T>(caller: string, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    signal.throwIfAborted();
    if (this.#waiting === 0 && this.#underWay < this.#limits.calls_max) this.#underWay += 1;
    else await this.#turn(caller, signal);
    try {
      return await work();
    } finally {
      this.#underWay -= 1;
      this.#startNext();
    }
  }

  #turn(caller: string, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        signal.removeEventListener("abort", abort);
        this.#remove(caller, waiting);
      };
      const abort = (): void => {
        leave();
        reject(signal.reason);
      };
      const waiting: Waiting = {
        start: () => {
          leave();
          this.#underWay += 1;
          resolve();
        },
        refuse: (fault) => {
          leave();
          reject(fault);
        },
      };
      signal.addEventListener("abort", abort, { once: true });
      this.#add(caller, waiting);
    });
  }

  /** One too many is taken from whoever has most waiting, so that a flood only drowns itself. */
  #add(caller: string, waiting: Waiting): void {
    const queue = this.#queues.get(caller) ?? new Set();
    this.#queues.set(caller, queue.add(waiting));
    this.#waiting += 1;
    const { waiting_max } = this.#limits;
    if (this.#waiting <= waiting_max) return;
    let longest = queue;
    for (const other of this.#queues.values()) if (other.size > longest.size) longest = other;
    const last = [...longest].at(-1);
    last?.refuse(
      new Fault(
        "overloaded",
        `${waiting_max} calls already wait for ${this.#where}, try again later`,
      ),
    );
  }

  #remove(caller: string, waiting: Waiting): void {
    const queue = this.#queues.get(caller);
    if (!queue?.delete(waiting)) return;
    this.#waiting -= 1;
    if (queue.size === 0) this.#queues.delete(caller);
  }

  #startNext(): void {
    while (this.#underWay < this.#limits.calls_max) {
      const [next] = this.#queues;
      if (!next) return;
      const [caller, queue] = next;
      const [first] = queue;
      this.#queues.delete(caller);
      this.#queues.set(caller, queue);
      first?.start();
    }
  }
}
