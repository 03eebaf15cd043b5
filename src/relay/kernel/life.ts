import type { Worker } from "node:worker_threads";
import { Fault } from "../../core/fault.ts";
import type { Line, Side } from "../leg.ts";
import type { Splice } from "../splice.ts";
import { type Linux, NONBLOCK_CLOEXEC, SO_LINGER, SOL_SOCKET } from "./linux.ts";
import {
  ASLEEP,
  CIRCUIT_FIELDS,
  CONNECTION,
  type Command,
  MOVED_AT,
  monotonic_ms,
  type Report,
  SENT,
  shareMemory,
} from "./messages.ts";
import { KernelSplice } from "./splice.ts";

/** A connection that the worker holds, or, once that thread is gone, one that was. */
class KernelLine implements Line {
  readonly life: Life;
  readonly descriptor: number;
  /** It was hung up or spliced: then its number may be another connection's. */
  given = false;

  constructor(life: Life, descriptor: number) {
    this.life = life;
    this.descriptor = descriptor;
  }

  hangUp(last?: Buffer): void {
    if (this.given) return;
    this.given = true;
    this.life.post(["hang up", this.descriptor, last?.toString("latin1") ?? ""]);
  }
}

/**
 * One life of the worker thread, seen from the main thread. Whatever ends it, its circuits are told and
 * its descriptors are closed.
 */
export class Life {
  readonly shared = shareMemory();
  /** Resolves once the thread is gone and what it held is closed, with why if nobody asked for that. */
  readonly over: Promise<Error | undefined>;
  readonly #linux: Linux;
  readonly #bell: number;
  readonly #ring: number;
  readonly #worker: Worker;
  readonly #splices = new Map<number, KernelSplice>();
  readonly #free: number[] = [];
  #outbox: Command[] = [];
  #ended = false;

  constructor(linux: Linux, start: (data: unknown) => Worker, hear: (report: Report) => void) {
    this.#linux = linux;
    this.#bell = linux.eventfd(0, NONBLOCK_CLOEXEC);
    if (this.#bell < 0) throw new Fault("overloaded", "no descriptors are left for this process");
    this.#ring = linux.pin(new BigUint64Array([1n]));
    const epoch_ms = monotonic_ms() - performance.now();
    try {
      this.#worker = start({ shared: this.shared, bell: this.#bell, epoch_ms });
    } catch (reason) {
      linux.close(this.#bell);
      throw reason;
    }
    this.#worker.unref();
    this.#worker.on("message", (reports: Report[]) => {
      for (const report of reports) {
        if (report[0] === "over") this.#over(...report);
        else hear(report);
      }
    });
    let failure: Error | undefined;
    this.#worker.on("error", (error) => {
      failure = error;
    });
    this.over = new Promise((resolve) => {
      this.#worker.once("exit", () => {
        this.#bury();
        resolve(failure);
      });
    });
  }

  /** Sends with what else is said in this turn. A thread that is gone hears nothing. */
  post(command: Command): void {
    if (this.#ended) return;
    if (this.#outbox.length === 0) queueMicrotask(() => this.#send());
    this.#outbox.push(command);
  }

  /** The worker holds this descriptor now, or will once it hears of it. */
  line(descriptor: number): Line {
    return new KernelLine(this, descriptor);
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** Lends it a descriptor of ours for good, together with what was read from it already. */
  adopt(descriptor: number, unread: Buffer): Line {
    if (this.#ended) {
      this.#linux.close(descriptor);
      throw new Fault("unreachable", "the splicing thread died, and another one is not there yet");
    }
    this.shared.owned[descriptor] = CONNECTION;
    this.post(["adopt", descriptor, unread.toString("latin1")]);
    return this.line(descriptor);
  }

  splice(lines: Record<Side, Line>, bytes_max: number): Splice {
    const [caller, callee] = [this.#own(lines.caller), this.#own(lines.callee)];
    const circuit = this.#free.pop() ?? this.#splices.size;
    const splice = new KernelSplice(this, circuit);
    if (this.#ended || !caller || !callee) {
      for (const line of [caller, callee]) line?.hangUp();
      splice.end("broken", "us"); // a thread that died took one of them along
    } else {
      caller.given = callee.given = true;
      this.#splices.set(circuit, splice);
      // Before anybody looks at them: they are those of the circuit that had this number.
      const { circuits } = this.shared;
      circuits.fill(0, circuit * CIRCUIT_FIELDS, (circuit + 1) * CIRCUIT_FIELDS);
      circuits[circuit * CIRCUIT_FIELDS + MOVED_AT] = performance.now();
      this.post(["pair", circuit, caller.descriptor, callee.descriptor, bytes_max]);
    }
    return splice;
  }

  async stop(): Promise<void> {
    this.post(["stop"]);
    await this.over;
  }

  async kill(): Promise<void> {
    await this.#worker.terminate();
  }

  #own(line: Line): KernelLine | undefined {
    if (!(line instanceof KernelLine)) throw new Error("a line of another engine");
    return line.life === this && !line.given ? line : undefined;
  }

  #send(): void {
    if (this.#ended) return;
    const { bell } = this.shared;
    this.#worker.postMessage(this.#outbox);
    this.#outbox = [];
    Atomics.add(bell, SENT, 1);
    if (Atomics.exchange(bell, ASLEEP, 0) === 1) this.#linux.write(this.#bell, this.#ring, 8);
  }

  #over(...[, circuit, ending, by]: Extract<Report, ["over", ...unknown[]]>): void {
    this.#splices.get(circuit)?.end(ending, by);
    this.#splices.delete(circuit);
    this.#free.push(circuit);
  }

  #bury(): void {
    this.#ended = true;
    this.#linux.close(this.#bell);
    const linger = new Int32Array([1, 0]);
    for (const [descriptor, owned] of this.shared.owned.entries()) {
      if (!owned) continue;
      if (owned === CONNECTION) {
        this.#linux.setsockoptOf(descriptor, SOL_SOCKET, SO_LINGER, linger, 8);
      }
      this.#linux.close(descriptor);
    }
    this.shared.owned.fill(0);
    for (const splice of this.#splices.values()) splice.end("broken", "us");
    this.#splices.clear();
  }
}
