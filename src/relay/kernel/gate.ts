import { isDeepStrictEqual } from "node:util";
import { Fault } from "../../core/fault.ts";
import { RateLimiter } from "../../net/rate-limit.ts";
import { sourceOf } from "../../net/source.ts";
import { Admission, type DoorLimits, refusalOf } from "../doors/admission.ts";
import type { Greeting } from "../doors/greeting.ts";
import { GREETINGS } from "../doors/greetings.ts";
import type { Refusal } from "../events.ts";
import {
  ADDRESS_SIZE,
  addressIn,
  EAGAIN,
  EINTR,
  EPOLLIN,
  MSG_DONTWAIT,
  MSG_NOSIGNAL,
  NONBLOCK_CLOEXEC,
} from "./linux.ts";
import { CONNECTION, type Opening } from "./messages.ts";
import type { Polled, Reactor } from "./reactor.ts";
import { type Keeper, LEAVING, Wire } from "./wire.ts";

/** Whoever comes later in the same turn waits for the next one. */
const ENTER_AT_ONCE = 64;
const READ_SIZE = 16_384;
/** How often it is looked who has been silent for too long, and how long a gate without descriptors waits. */
const LOOK_MS = 50;
const EXHAUSTED_MS = 100;
const CONNABORTED = 103;

type Stranger = { wire: Wire; source: string; came_at: number; bytes: Buffer | undefined };

/** The memory that all gates read into. */
export class Reading {
  readonly bytes = Buffer.allocUnsafeSlow(READ_SIZE);
  readonly bytes_at: number;
  readonly address = Buffer.alloc(ADDRESS_SIZE);
  readonly address_at: number;
  /** Where `accept4` is told how much room there is, and tells how much it took. */
  readonly size = new Uint32Array(1);
  readonly size_at: number;

  constructor({ linux }: Reactor) {
    this.bytes_at = linux.pin(this.bytes);
    this.address_at = linux.pin(this.address);
    this.size_at = linux.pin(this.size);
  }
}

type Deps = {
  reactor: Reactor;
  reading: Reading;
  /** Takes over a wire whose hello was heard. */
  heard(wire: Wire): void;
};

/** A door in the kernel engine. A silent stranger costs a descriptor and a few words of memory. */
export class Gate implements Keeper {
  readonly #listener: Polled;
  readonly #number: number;
  readonly #slot: number;
  readonly #greeting: Greeting;
  readonly #limits: DoorLimits;
  readonly #rates = new RateLimiter([]);
  readonly #admission: Admission;
  readonly #deps: Deps;
  /** By descriptor, those who came first first. */
  readonly #strangers = new Map<number, Stranger>();
  #looked_at = 0;
  #paused_until = 0;

  constructor({ number, slot, door, descriptor, limits }: Opening, deps: Deps) {
    this.#number = number;
    this.#slot = slot;
    this.#listener = { descriptor, onEvents: () => this.#accept() };
    this.#greeting = GREETINGS[door];
    this.#limits = { ...limits };
    this.#admission = new Admission(this.#limits);
    this.#deps = deps;
    if (!deps.reactor.poll(this.#listener, EPOLLIN)) throw new Error("a door cannot be watched");
  }

  limit(limits: DoorLimits): void {
    const { rate_limits } = this.#limits;
    Object.assign(this.#limits, limits);
    // Whoever counts knows its limits by identity, and would count anew.
    if (isDeepStrictEqual(limits.rate_limits, rate_limits)) {
      Object.assign(this.#limits, { rate_limits });
    }
  }

  /** In how many milliseconds there is something to do besides what events ask for. */
  get due(): number {
    return this.#strangers.size > 0 || this.#paused_until > 0 ? LOOK_MS : Infinity;
  }

  onEvents(wire: Wire, events: number): void {
    if (events & LEAVING) wire.leaving = true;
    const stranger = this.#strangers.get(wire.descriptor);
    if (stranger) this.#hear(stranger);
  }

  /** Turns away who was silent for too long. */
  look(): void {
    const { now } = this.#deps.reactor;
    if (now - this.#looked_at < LOOK_MS) return;
    this.#looked_at = now;
    if (this.#paused_until > 0 && now >= this.#paused_until) {
      this.#paused_until = 0;
      this.#deps.reactor.poll(this.#listener, EPOLLIN);
    }
    for (const stranger of this.#strangers.values()) {
      if (now - stranger.came_at < this.#limits.hello_timeout_ms) return;
      this.#turnAway(stranger, new Fault("timeout", "no hello in time"));
    }
  }

  close(): void {
    const { reactor } = this.#deps;
    for (const { wire } of this.#strangers.values()) reactor.close(wire.descriptor);
    this.#strangers.clear();
    this.#tellHowMany(0);
    reactor.close(this.#listener.descriptor);
  }

  #accept(): void {
    const { reactor, reading } = this.#deps;
    for (let count = 0; count < ENTER_AT_ONCE; count += 1) {
      reading.size[0] = ADDRESS_SIZE;
      const { address_at, size_at } = reading;
      const descriptor = reactor.linux.accept4(
        this.#listener.descriptor,
        address_at,
        size_at,
        NONBLOCK_CLOEXEC,
      );
      if (descriptor >= 0) {
        reactor.own(descriptor, CONNECTION);
        this.#enter(descriptor);
        continue;
      }
      const why = reactor.linux.errno();
      if (why === EINTR || why === CONNABORTED) continue;
      if (why !== EAGAIN) this.#pause();
      return;
    }
  }

  /** No descriptors or no memory are left: to ask again at once would be to do nothing else. */
  #pause(): void {
    const { reactor } = this.#deps;
    reactor.ignore(this.#listener.descriptor);
    this.#paused_until = reactor.now + EXHAUSTED_MS;
    reactor.report(["exhausted"]);
  }

  #enter(descriptor: number): void {
    const { reactor, reading } = this.#deps;
    const address = addressIn(reading.address);
    const source = sourceOf(address);
    const crowded = descriptor >= reactor.descriptors_max;
    if (crowded) reactor.report(["exhausted"]);
    const refused = crowded ? "crowd" : this.#refuses(address, source);
    if (refused) {
      reactor.close(descriptor);
      this.#report(refused, source);
      return;
    }
    const wire = new Wire(descriptor, this);
    const stranger = { wire, source, came_at: reactor.now, bytes: undefined };
    this.#strangers.set(descriptor, stranger);
    this.#tellHowMany(this.#admission.inside);
    this.#hear(stranger);
    if (this.#strangers.has(descriptor) && !wire.poll(reactor)) {
      this.#turnAway(stranger, new Fault("overloaded", "no more connections can be watched"), true);
    }
  }

  /** Reads what there is of the hello. */
  #hear(stranger: Stranger): void {
    const { reactor, reading } = this.#deps;
    const { wire } = stranger;
    for (;;) {
      const missing = this.#greeting.size_max - (stranger.bytes?.length ?? 0);
      const size = reactor.linux.recv(
        wire.descriptor,
        reading.bytes_at,
        Math.min(missing, READ_SIZE),
        MSG_DONTWAIT,
      );
      if (size < 0) {
        const why = reactor.linux.errno();
        if (why === EAGAIN) return;
        if (why === EINTR) continue;
      }
      if (size <= 0) {
        this.#turnAway(stranger, new Fault("malformed", "the stream ended inside its hello"), true);
        return;
      }
      if (this.#understands(stranger, reading.bytes.subarray(0, size))) return;
    }
  }

  /** True once there is a hello, or never will be. */
  #understands(stranger: Stranger, more: Buffer): boolean {
    const { wire, source, came_at } = stranger;
    const { reactor, heard } = this.#deps;
    const bytes = stranger.bytes ? Buffer.concat([stranger.bytes, more]) : more;
    try {
      const greeting = this.#greeting.read(bytes);
      if (!greeting) {
        stranger.bytes = stranger.bytes ? bytes : Buffer.from(more);
        return false;
      }
      const { hello, used } = greeting;
      if (used < bytes.length) wire.unsent = Buffer.from(bytes.subarray(used));
      this.#forget(wire, source);
      heard(wire);
      const { now } = reactor;
      reactor.report(["heard", this.#number, wire.descriptor, hello, came_at, now]);
    } catch (reason) {
      this.#turnAway(stranger, Fault.from(reason));
    }
    return true;
  }

  #turnAway({ wire, source }: Stranger, fault: Fault, gone = false): void {
    const { reactor } = this.#deps;
    const last = this.#greeting.farewell(fault);
    if (last) {
      const flags = MSG_DONTWAIT | MSG_NOSIGNAL;
      reactor.linux.sendBytes(wire.descriptor, last, last.length, flags);
    }
    this.#forget(wire, source);
    reactor.close(wire.descriptor);
    this.#report(refusalOf(fault, gone), source);
  }

  #refuses(address: string | undefined, source: string): Refusal | undefined {
    this.#rates.use(this.#limits.rate_limits);
    return this.#rates.admits(address) ? this.#admission.refuses(source) : "rate";
  }

  #forget({ descriptor }: Wire, source: string): void {
    this.#strangers.delete(descriptor);
    this.#admission.leave(source);
    this.#tellHowMany(this.#admission.inside);
  }

  #report(why: Refusal, source: string): void {
    this.#deps.reactor.report(["away", this.#number, why, source]);
  }

  #tellHowMany(strangers: number): void {
    this.#deps.reactor.shared.strangers[this.#slot] = strangers;
  }
}
