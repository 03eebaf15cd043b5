import { nanoid } from "nanoid";
import * as z from "zod";
import { Deadline, orAbort } from "../core/deadline.ts";
import { Fault } from "../core/fault.ts";
import { type Address, formatAddress } from "../wire/address.ts";
import type { Answer } from "../wire/answer.ts";

/** The internal method by which a caller asks for an answer that it lost; the params are `{ id }`. */
export const PICK_UP = "_pickUp";
/** What it answers: the answer, or that the service has promised one. */
export const PickedUp = z.object({
  answer: z
    .union([z.object({ result: z.json() }), z.object({ error: z.looseObject({}) })])
    .nullish(),
  pending: z.boolean().nullish(),
});

/** Answers that are kept for callers who lost their connection, and for how long. */
const KEPT_MAX = 1_000;
const KEPT_MS = 60_000;

/** Read for each call, so that it may change. */
type LaterSettings = { readonly respond_timeout_ms: number };

/** A call as its caller knows it. */
type Asked = { readonly id: string; readonly caller: string };

type Open = Asked & { readonly answer: Promise<Answer>; settle(answer: Answer): void };

/** A call that the service behind us works on, under the id that it was given for it. */
type Task = Disposable & {
  readonly given: string;
  /** The service has acknowledged the call: waits for it to respond, or throws `timeout`. */
  promised(): Promise<Answer>;
};

/**
 * Answers that the service behind us gives later: it acknowledges a call and then calls `respond`.
 *
 *     open ──respond──▶ answered ──kept a while──▶ forgotten
 *       └── time is up, or nothing was promised ──────▲
 *
 * A call is answered at most once. The answer is kept, because the caller may have lost the connection
 * that it waits on; then it asks for the answer again, and nobody else may.
 */
export class Later {
  readonly #settings: LaterSettings;
  readonly #stop: AbortSignal;
  /** By the id that the service was given. The broker limits how many there are. */
  readonly #open = new Map<string, Open>();
  readonly #answered = new Map<string, Open>();

  /** Nobody waits any longer once `stop` has aborted. */
  constructor(settings: LaterSettings, stop: AbortSignal) {
    this.#settings = settings;
    this.#stop = stop;
  }

  /** Opens a task before the service hears of it, since it may respond sooner than it acknowledges. */
  open(address: Address, caller: string): Task {
    const id = formatAddress(address);
    // Originals make ids that only they tell apart, and two of them may call at once.
    const isTaken = this.#open.has(id) || this.#answered.has(id);
    const given = isTaken ? formatAddress({ ...address, call: `${address.call}~${nanoid()}` }) : id;
    let settle = (_: Answer): void => {};
    const answer = new Promise<Answer>((resolve) => {
      settle = resolve;
    });
    this.#open.set(given, { id, caller, answer, settle });
    return {
      given,
      promised: async () => {
        const { respond_timeout_ms } = this.#settings;
        using deadline = new Deadline(respond_timeout_ms, "the answer promised", this.#stop);
        return await orAbort(answer, deadline.signal);
      },
      [Symbol.dispose]: () => this.#open.delete(given),
    };
  }

  /** The service answers. Throws `not_found` when nobody waits for that, `conflict` the second time. */
  respond(given: string, answer: Answer): void {
    if (this.#answered.has(given)) throw new Fault("conflict", `${given} was answered already`);
    const open = this.#open.get(given);
    if (!open) {
      const why = "it was not acknowledged with HTTP status 202, or its time is up";
      throw new Fault("not_found", `nobody waits for an answer to ${given}: ${why}`);
    }
    open.settle(answer);
    this.#open.delete(given);
    this.#answered.set(given, open);
    const [oldest = given] = this.#answered.keys();
    if (this.#answered.size > KEPT_MAX) this.#answered.delete(oldest);
    setTimeout(() => this.#answered.delete(given), KEPT_MS).unref();
  }

  /**
   * The answer to a call that its caller made and lost, or undefined if there is none within `wait_ms`
   * or before the time of the signal is up.
   * Throws `not_found` if that caller has no such call here.
   */
  async pickUp(asked: Asked, wait_ms: number, signal: AbortSignal): Promise<Answer | undefined> {
    const found = [...this.#open.values(), ...this.#answered.values()].find(
      ({ id, caller }) => id === asked.id && caller === asked.caller,
    );
    if (!found) throw new Fault("not_found", "no answer was promised by this id");
    using patience = new Deadline(wait_ms, "the answer promised", signal);
    return await orAbort(found.answer, patience.signal).catch((reason) => {
      if (Fault.from(reason).fault === "timeout") return undefined;
      throw reason;
    });
  }
}
