import { nanoid } from "nanoid";
import { aborted, Backoff, Deadline, orAbort } from "../core/deadline.ts";
import { explain, Fault } from "../core/fault.ts";
import type { Log } from "../core/log.ts";
import type { Directory } from "../directory/directory.ts";
import { groupsThatMayCall } from "../directory/permissions.ts";
import { fitting, toWire, type WireRequest, type WireResponse } from "../rpc/grpc/messages.ts";
import { faultAnswer } from "../wire/answer.ts";
import { REQUEST_ID_SIZE } from "../wire/call-id.ts";
import { fromStruct, toStruct } from "../wire/struct.ts";
import type { Broker } from "./broker.ts";
import { addressOf } from "./channels/grpc-server.ts";
import type { Peer, Peers } from "./peers.ts";
import { needsReverseStream } from "./route.ts";
import { Timings } from "./timings.ts";

/** The code by which originals know a fault on a reverse stream (eps-protocol 3.6). */
const BROKER_ERROR = -100;
/** A stream that lasted this long was a success, so the next attempt starts with a short pause. */
const SETTLED_MS = 5_000;
/** How long answers under way may take once a stream is to close. */
const CLOSE_MS = 3_000;

type Dependencies = {
  self: string;
  broker: Broker;
  directory: Directory;
  peers: Peers;
  log: Log;
};

type Kept = {
  readonly stop: AbortController;
  readonly backoff: Backoff;
  open: boolean;
  /** Hangs up if the directory says something else of the other side than when it was dialled. */
  recheck(): void;
};

/**
 * Keeps a reverse stream to every operator that may call us and could not dial us (eps-protocol
 * 3.7), so that those calls come in by a connection that we dialled. A stream that breaks is opened
 * again after a short, jittered pause, and at once when the directory changes.
 */
export class ReverseStreams implements AsyncDisposable {
  readonly #deps: Dependencies;
  readonly #kept = new Map<string, Kept>();
  readonly #loops = new Set<Promise<void>>();
  readonly #unsubscribe: () => void;

  constructor(deps: Dependencies) {
    this.#deps = deps;
    this.#unsubscribe = deps.directory.onChange(() => this.#adjust());
    this.#adjust();
  }

  /** Does this operator have a way to us now? */
  isOpen(operator: string): boolean {
    return this.#kept.get(operator)?.open ?? false;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#unsubscribe();
    for (const { stop } of this.#kept.values()) {
      stop.abort(new Fault("unreachable", "the endpoint is stopping"));
    }
    await Promise.all(this.#loops);
  }

  #adjust(): void {
    const { self, directory } = this.#deps;
    const own = directory.entry(self);
    const callers = own && groupsThatMayCall(own);
    const wanted = new Set(
      directory
        .entries()
        .filter((other) => own && callers && needsReverseStream(own, other, callers))
        .map(({ name }) => name),
    );
    for (const [operator, { stop, backoff, recheck }] of this.#kept) {
      recheck();
      backoff.hurry();
      if (wanted.has(operator)) continue;
      stop.abort(new Fault("unreachable", `the directory asks for no stream to ${operator}`));
    }
    for (const operator of wanted) if (!this.#kept.has(operator)) this.#keep(operator);
  }

  #keep(operator: string): void {
    const kept = {
      stop: new AbortController(),
      backoff: new Backoff(),
      open: false,
      recheck: () => {},
    };
    this.#kept.set(operator, kept);
    const loop = this.#loop(operator, kept).finally(() => {
      this.#kept.delete(operator);
      this.#loops.delete(loop);
    });
    this.#loops.add(loop);
  }

  async #loop(operator: string, kept: Kept): Promise<void> {
    const { peers, log } = this.#deps;
    const { backoff } = kept;
    const stop = kept.stop.signal;
    let told = false;
    while (!stop.aborted) {
      const opened_at = Date.now();
      let reason: unknown;
      try {
        const need = { request: nanoid(REQUEST_ID_SIZE), timings: new Timings() };
        await peers.use(operator, need, stop, (peer) =>
          this.#serve(operator, peer, kept, () => {
            log.info({ operator }, "reverse stream open");
            told = false;
            kept.open = true;
          }),
        );
      } catch (caught) {
        reason = caught;
      }
      kept.open = false;
      if (stop.aborted) return;
      // The first failure is news; that it still fails is not.
      const level = told ? "debug" : "warn";
      log[level]({ operator, reason: explain(reason) }, "no reverse stream, dialling again");
      told = true;
      if (Date.now() - opened_at > SETTLED_MS) backoff.reset();
      await backoff.wait(stop).catch(() => {});
    }
  }

  /** Serves one stream until it ends, and says why it did. */
  async #serve(operator: string, peer: Peer, kept: Kept, open: () => void): Promise<never> {
    const { self, peers } = this.#deps;
    const stop = kept.stop.signal;
    const stream = peer.connection.reverse();
    const gone = new AbortController();
    const answers = new Set<Promise<void>>();
    const over = new Promise<never>((_, reject) => {
      stream.on("error", (error) => reject(peer.connection.faultOf(error)));
      stream.on("end", () => reject(new Fault("unreachable", `${operator} ended the stream`)));
      kept.recheck = () => {
        if (peers.isCurrent(operator, peer)) return;
        reject(new Fault("unreachable", `the directory has changed what it says of ${operator}`));
      };
    });
    over.catch(() => {});
    stream.once("metadata", open); // the other side's first word: it took the stream
    stream.on("data", (request: WireRequest) => {
      const answer = this.#answer(operator, request, gone.signal)
        .then((response) => new Promise<void>((sent) => stream.write(response, () => sent())))
        .finally(() => answers.delete(answer));
      answers.add(answer);
    });
    stream.write({ id: "1", result: toStruct({ name: self }) });
    try {
      return await orAbort(over, stop);
    } finally {
      // Whoever waits for an answer shall have it, unless the stream is gone already.
      using patience = new Deadline(CLOSE_MS, "the answers under way", gone.signal);
      over.catch((reason) => gone.abort(reason));
      while (stop.aborted && answers.size > 0 && !patience.signal.aborted) {
        await Promise.race([Promise.all(answers), aborted(patience.signal)]);
      }
      gone.abort(stop.reason);
      stream.cancel();
    }
  }

  async #answer(operator: string, request: WireRequest, gone: AbortSignal): Promise<WireResponse> {
    const { broker } = this.#deps;
    const { id, clientName } = request;
    if (clientName !== "" && clientName !== operator) {
      return { id, error: { code: 404, message: "no matching client found" } };
    }
    try {
      const params = fromStruct(request.params);
      const message = { address: addressOf(request), params, caller: operator };
      return fitting(toWire(id, await broker.deliver(message, gone)));
    } catch (reason) {
      return toWire(id, faultAnswer(Fault.from(reason), BROKER_ERROR));
    }
  }
}
