import type { Ending, Outcome } from "../leg.ts";
import {
  EAGAIN,
  EINTR,
  EPOLLERR,
  EPOLLHUP,
  EPOLLIN,
  EPOLLOUT,
  MSG_DONTWAIT,
  MSG_NOSIGNAL,
  SHUT_WR,
  SO_LINGER,
  SOL_SOCKET,
  SPLICE_F_MOVE_NONBLOCK,
} from "./linux.ts";
import { CIRCUIT_FIELDS, FROM_CALLEE, FROM_CALLER, MOVED_AT } from "./messages.ts";
import { Pipes } from "./pipes.ts";
import type { Reactor } from "./reactor.ts";
import { type Keeper, LEAVING, type Wire } from "./wire.ts";

/** Up to so much is copied, which for small messages is cheaper than two splices. */
const COPY_SIZE = 65_536;
/** A direction that fills a copy is spliced from then on, until so many splices in a row were small. */
const HEAT = 8;
const SMALL = 16_384;
/** More than any pipe takes: it has a number of slots rather than bytes, and a slot may hold more than a page. */
const ALL = 1024 ** 3;
/** What one direction may move before the others get their turn. */
const SHARE = 4 * 1024 ** 2;

/**
 * The zero-copy splice: bytes go from socket to socket through a pipe and never enter this program,
 * except few at a time. What holds of ends, breaks and slow readers is in `test/contract/splice.test.ts`.
 */
export class Pump implements Keeper {
  readonly #reactor: Reactor;
  readonly #pipes: Pipes;
  /** The caller's wire of each circuit that is open. */
  readonly #open = new Map<number, Wire>();
  #queue: Wire[] = [];
  readonly #copy = Buffer.allocUnsafeSlow(COPY_SIZE);
  readonly #copy_at: number;
  readonly #linger = new Int32Array([1, 0]);
  readonly #linger_at: number;

  constructor(reactor: Reactor) {
    this.#reactor = reactor;
    this.#pipes = new Pipes(reactor);
    this.#pipes.tryOut();
    this.#copy_at = reactor.linux.pin(this.#copy);
    this.#linger_at = reactor.linux.pin(this.#linger);
  }

  /** Does something wait for the next turn? */
  get busy(): boolean {
    return this.#queue.length > 0;
  }

  pair(circuit: number, wires: { caller: Wire; callee: Wire }, bytes_max: number): void {
    const { caller, callee } = wires;
    this.#open.set(circuit, caller);
    callee.side = "callee";
    for (const [wire, partner] of [
      [caller, callee],
      [callee, caller],
    ] as const) {
      Object.assign(wire, { keeper: this, partner, circuit, bytes_max });
    }
    for (const wire of [caller, callee]) {
      if (this.#count(wire, wire.unsent?.length ?? 0) > bytes_max) this.#end(wire, "limit", "us");
      else if (wire.partner && !wire.poll(this.#reactor)) this.#end(wire, "broken", "us");
    }
    this.#pump(caller);
    this.#pump(callee);
  }

  /** Ends a circuit from our side, if it is not over yet. */
  cut(circuit: number, ending: Ending): void {
    const caller = this.#open.get(circuit);
    if (caller) this.#end(caller, ending, "us");
  }

  onEvents(wire: Wire, events: number): void {
    if (events & (EPOLLIN | LEAVING)) wire.readable = true;
    if (events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) wire.writable = true;
    if (events & LEAVING) wire.leaving = true;
    if (wire.readable) this.#pump(wire);
    if (wire.partner && wire.writable) this.#pump(wire.partner);
    // It broke: what had come before has been passed on, as far as the partner took it.
    if (wire.partner && events & EPOLLERR) this.#end(wire, "broken", wire.side);
  }

  /** The next share of all who have not had enough. */
  work(): void {
    const queue = this.#queue;
    this.#queue = [];
    for (const wire of queue) {
      wire.queued = false;
      if (wire.partner) this.#pump(wire);
    }
  }

  /** Moves what has come from a wire to its partner, until there is no more, no room or no share left. */
  #pump(from: Wire): void {
    let moved = 0;
    for (;;) {
      const to = from.partner;
      if (!to) return;
      if (from.unsent || from.piped > 0) {
        const sent = to.writable ? this.#send(from, to) : 0;
        if (sent === 0) break;
        moved += sent;
      } else if (from.ended) {
        if (!to.finished) this.#finish(from, to);
        break;
      } else if (!from.readable || (!to.writable && from.heat === 0)) {
        // A slow reader: one pipe may fill up for it, so that much goes out at once when it can. The
        // rest waits with the kernel, and in the end with whoever sends it.
        break;
      } else if (moved >= SHARE) {
        if (!from.queued) this.#queue.push(from);
        from.queued = true;
        break;
      } else if (!this.#receive(from, to)) {
        break;
      }
    }
    if (from.piped === 0) this.#giveBack(from);
  }

  /** Brings back how much went out. */
  #send(from: Wire, to: Wire): number {
    const { linux } = this.#reactor;
    const { unsent, pipe } = from;
    const sent = unsent
      ? linux.sendBytes(to.descriptor, unsent, unsent.length, MSG_DONTWAIT | MSG_NOSIGNAL)
      : pipe
        ? linux.splice(pipe.out, 0, to.descriptor, 0, from.piped, SPLICE_F_MOVE_NONBLOCK)
        : 0;
    if (sent > 0) {
      if (!unsent) from.piped -= sent;
      else from.unsent = sent < unsent.length ? unsent.subarray(sent) : undefined;
      this.#moved(from);
    } else {
      const why = sent < 0 ? linux.errno() : 0;
      if (why === EINTR) return this.#send(from, to);
      if (why === EAGAIN) to.writable = false;
      else this.#end(from, "broken", to.side);
    }
    return Math.max(sent, 0);
  }

  /** False if there is nothing to go on with. */
  #receive(from: Wire, to: Wire): boolean {
    const pipe = from.heat > 0 ? this.#pipeOf(from) : undefined;
    const { linux } = this.#reactor;
    const size = pipe
      ? linux.splice(from.descriptor, 0, pipe.into, 0, ALL, SPLICE_F_MOVE_NONBLOCK)
      : linux.recv(from.descriptor, this.#copy_at, COPY_SIZE, MSG_DONTWAIT);
    if (size < 0) {
      const why = linux.errno();
      if (why === EINTR) return true;
      if (why === EAGAIN) from.readable = false;
      else this.#end(from, "broken", from.side);
      return false;
    }
    if (size === 0) {
      from.ended = true;
      from.endedFirst = !to.ended;
      return true;
    }
    if (pipe) from.piped = size;
    if (this.#count(from, size) > from.bytes_max) {
      this.#end(from, "limit", "us");
      return false;
    }
    this.#moved(from);
    if (pipe) {
      from.heat = size < SMALL ? from.heat - 1 : HEAT;
      return true;
    }
    if (size === COPY_SIZE) from.heat = HEAT;
    else if (!from.leaving) from.readable = false; // more would have come along; an end would not be told again
    return this.#sendCopy(from, to, size);
  }

  #sendCopy(from: Wire, to: Wire, size: number): boolean {
    const { linux } = this.#reactor;
    const flags = MSG_DONTWAIT | MSG_NOSIGNAL;
    const sent = linux.send(to.descriptor, this.#copy_at, size, flags);
    if (sent === size) return true;
    const why = sent < 0 ? linux.errno() : EINTR;
    if (why === EAGAIN) to.writable = false;
    else if (why !== EINTR) {
      this.#end(from, "broken", to.side);
      return false;
    }
    from.unsent = Buffer.from(this.#copy.subarray(Math.max(sent, 0), size));
    return true;
  }

  #finish(from: Wire, to: Wire): void {
    to.finished = true;
    this.#reactor.linux.shutdown(to.descriptor, SHUT_WR);
    if (to.ended && from.finished) {
      this.#end(from, "done", from.endedFirst ? from.side : to.side);
    }
  }

  #end(wire: Wire, ending: Ending, by: Outcome["by"]): void {
    const { partner, circuit } = wire;
    if (!partner) return;
    for (const each of [wire, partner]) {
      if (ending !== "done") this.#reset(each);
      each.partner = undefined;
      each.unsent = undefined;
      this.#giveBack(each);
      this.#reactor.close(each.descriptor);
    }
    this.#open.delete(circuit);
    if (this.#open.size === 0) this.#pipes.closeSpare();
    this.#reactor.report(["over", circuit, ending, by]);
  }

  /** Once it is closed, the other side hears of a reset, and takes it for no end. */
  #reset({ descriptor }: Wire): void {
    this.#reactor.linux.setsockopt(descriptor, SOL_SOCKET, SO_LINGER, this.#linger_at, 8);
  }

  #pipeOf(wire: Wire) {
    wire.pipe ??= this.#pipes.borrow();
    return wire.pipe;
  }

  #giveBack(wire: Wire): void {
    if (wire.pipe) this.#pipes.giveBack(wire.pipe, wire.piped === 0);
    wire.pipe = undefined;
    wire.piped = 0;
  }

  /** Brings back what both sides of the circuit have sent. */
  #count({ circuit, side }: Wire, size: number): number {
    const { circuits } = this.#reactor.shared;
    const at = circuit * CIRCUIT_FIELDS + (side === "caller" ? FROM_CALLER : FROM_CALLEE);
    circuits[at] = (circuits[at] ?? 0) + size;
    const first = circuit * CIRCUIT_FIELDS;
    return (circuits[first + FROM_CALLER] ?? 0) + (circuits[first + FROM_CALLEE] ?? 0);
  }

  #moved({ circuit }: Wire): void {
    this.#reactor.shared.circuits[circuit * CIRCUIT_FIELDS + MOVED_AT] = this.#reactor.now;
  }
}
