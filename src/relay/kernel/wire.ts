import type { Side } from "../leg.ts";
import { EPOLLERR, EPOLLET, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP } from "./linux.ts";
import type { Pipe } from "./pipes.ts";
import type { Polled, Reactor } from "./reactor.ts";

/** Each change is told once, so whoever is told goes on until there is no more. */
const EVERYTHING = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
/** The other side is done, or broke. */
export const LEAVING = EPOLLRDHUP | EPOLLERR | EPOLLHUP;

/** Whoever looks after a wire at the moment: a gate, the waiting room or the pump. */
export interface Keeper {
  onEvents(wire: Wire, events: number): void;
}

/** One connection, and the way of its bytes to its partner. */
export class Wire implements Polled {
  readonly descriptor: number;
  keeper: Keeper;
  /** Its other side is done, or broke. Then there may be no further event. */
  leaving = false;
  #polled = false;

  /** Bytes that were read from it and could not be sent yet; those in the pipe come after them. */
  unsent: Buffer | undefined;
  pipe: Pipe | undefined;
  piped = 0;

  partner: Wire | undefined;
  circuit = -1;
  side: Side = "caller";
  bytes_max = Infinity;
  /** As far as is known. Wrong hopes are put right by EAGAIN. */
  readable = true;
  writable = true;
  /** Its end was read, and before its partner's. */
  ended = false;
  endedFirst = false;
  /** Its partner's end was passed on to it. */
  finished = false;
  /** Much came at once lately: how often less may come before it counts as quiet. */
  heat = 0;
  /** Waits for its next turn, having had its share of this one. */
  queued = false;

  constructor(descriptor: number, keeper: Keeper) {
    this.descriptor = descriptor;
    this.keeper = keeper;
  }

  /** From now on its keeper hears of events. False if the system cannot watch any more connections. */
  poll(reactor: Reactor): boolean {
    this.#polled ||= reactor.poll(this, EVERYTHING);
    return this.#polled;
  }

  onEvents(events: number): void {
    this.keeper.onEvents(this, events);
  }
}
