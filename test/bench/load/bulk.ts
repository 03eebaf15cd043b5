import type { Leg } from "./legs.ts";
import { CHUNK, check, chunkAt, incoming } from "./pattern.ts";
import { Poll, READABLE, receive, send, WRITABLE } from "./system-calls.ts";

const STALLED_MS = 20_000;

/** Bytes that one side has sent and received, by the number of the circuit. */
type Totals = { sent: number[]; received: number[] };

/** Much of one kind of byte, as fast as it goes, checked as it comes. One side of it. */
export class Bulk {
  readonly #circuits: Map<number, number>;
  readonly #totals: Totals = { sent: [], received: [] };
  #chunks = 0;

  constructor(legs: readonly Leg[]) {
    this.#circuits = new Map(legs.map(({ socket, circuit }) => [socket, circuit]));
    for (const { circuit } of legs) {
      this.#totals.sent[circuit] = 0;
      this.#totals.received[circuit] = 0;
    }
  }

  /** Sends, if it shall, and receives until that time on the monotonic clock. */
  run({ sends, until_ms }: { sends: boolean; until_ms: number }): Totals {
    using poll = new Poll();
    const interest = sends ? READABLE | WRITABLE : READABLE;
    for (const socket of this.#circuits.keys()) poll.add(socket, interest);
    while (now_ms() < until_ms) {
      poll.wait((socket, readable, writable) => {
        const circuit = this.#circuits.get(socket) ?? -1;
        if (readable) this.#receive(socket, circuit);
        if (writable) this.#send(socket, circuit);
      });
    }
    return this.#totals;
  }

  /** Receives what is still under way: all that the other side says it has sent, and no byte more. */
  drain(expected: readonly number[]): { received: number[]; ended_ms: number } {
    using poll = new Poll();
    const { received } = this.#totals;
    let ended_ms = now_ms();
    const missing = (circuit: number): number =>
      (expected[circuit] ?? 0) - (received[circuit] ?? 0);
    const open = new Map([...this.#circuits].filter(([, circuit]) => missing(circuit) !== 0));
    for (const socket of open.keys()) poll.add(socket, READABLE);
    while (open.size > 0) {
      poll.wait((socket) => {
        const circuit = open.get(socket) ?? -1;
        this.#receive(socket, circuit);
        ended_ms = now_ms();
        if (missing(circuit) > 0) return;
        if (missing(circuit) < 0) throw new Error(`circuit ${circuit} brought too much`);
        open.delete(socket);
        poll.remove(socket);
      });
      if (now_ms() - ended_ms > STALLED_MS) {
        throw new Error(`${open.size} circuits did not bring all that was sent`);
      }
    }
    return { received, ended_ms };
  }

  #send(socket: number, circuit: number): void {
    const position = this.#totals.sent[circuit] ?? 0;
    const count = send(socket, chunkAt(circuit, position), CHUNK);
    if (count > 0) this.#totals.sent[circuit] = position + count;
  }

  #receive(socket: number, circuit: number): void {
    const position = this.#totals.received[circuit] ?? 0;
    const count = receive(socket, incoming, CHUNK);
    if (count < 0) return;
    if (count === 0) throw new Error(`circuit ${circuit} ended by itself after ${position} bytes`);
    this.#chunks += 1;
    check(circuit, position, count, this.#chunks);
    this.#totals.received[circuit] = position + count;
  }
}

/** What lies between the machine's monotonic clock and this process's, which is cheap to read. */
const AHEAD_MS = Number(process.hrtime.bigint()) / 1e6 - performance.now();

/** Milliseconds of the monotonic clock, which all processes of a machine read alike. */
export function now_ms(): number {
  return AHEAD_MS + performance.now();
}
