import {
  EPOLL_CLOEXEC,
  EPOLL_CTL_ADD,
  EPOLL_CTL_DEL,
  EPOLLIN,
  EVENT_DATA,
  EVENT_SIZE,
  type Linux,
} from "./linux.ts";
import {
  ASLEEP,
  type Command,
  DESCRIPTORS_MAX,
  monotonic_ms,
  OTHER,
  type Report,
  SENT,
  type Start,
} from "./messages.ts";

const RESERVED = 512;
const EVENTS_MAX = 256;
const REPORT_MS = 0.25;
const SLEEP_MAX_MS = 1_000;

/** Something with a descriptor that is told what the kernel has to say of it. */
export interface Polled {
  readonly descriptor: number;
  onEvents(events: number): void;
}

/** What the reactor does in every turn besides. */
type Turn = {
  /** What is left to do at once, or in how many milliseconds something is due. */
  due(): number;
  command(command: Command): void;
  /** After all events of a turn. */
  work(): void;
};

/** How messages get in and out: those that have not been taken yet, one after the other. */
type Port = { receive(): readonly Command[] | undefined; send(reports: Report[]): void };

/**
 * The loop of the worker thread: waits for events and for commands, and tells what came of them.
 *
 * Descriptors are closed at the end of a turn, because their numbers may be given out again at once
 * and events of the same turn would then meet a stranger.
 */
export class Reactor {
  readonly linux: Linux;
  readonly shared: Start["shared"];
  /** `performance.now()` of the main thread, as it was when this turn began. */
  now: number;
  /** Connections get no higher ones, so that some are left for the rest of the program. */
  readonly descriptors_max: number;
  readonly #epoch_ms: number;
  readonly #port: Port;
  readonly #epoll: number;
  readonly #change = Buffer.allocUnsafeSlow(EVENT_SIZE);
  readonly #change_at: number;
  readonly #polled: Array<Polled | undefined> = [];
  #closing: number[] = [];
  /** They go out together, as soon as there is nothing else to do and soon in any case: each message wakes a thread. */
  #reports: Report[] = [];
  #reporting_at = 0;
  #taken = 0;
  #stopping = false;

  constructor(linux: Linux, { shared, bell, epoch_ms }: Start, port: Port) {
    this.linux = linux;
    this.shared = shared;
    this.#epoch_ms = epoch_ms;
    this.#port = port;
    this.#change_at = linux.pin(this.#change);
    this.#epoll = linux.epoll_create1(EPOLL_CLOEXEC);
    if (this.#epoll < 0) throw new Error(`epoll_create1 fails with errno ${linux.errno()}`);
    this.own(this.#epoll);
    this.now = monotonic_ms() - epoch_ms;
    const limit = Math.min(linux.descriptorLimit(), DESCRIPTORS_MAX);
    this.descriptors_max = limit - Math.min(limit / 8, RESERVED);
    const rung = Buffer.allocUnsafeSlow(8);
    const rung_at = linux.pin(rung);
    this.poll({ descriptor: bell, onEvents: () => linux.read(bell, rung_at, 8) }, EPOLLIN);
  }

  /** Takes a new descriptor into its books. One that is as high as `descriptors_max` has to be closed again. */
  own(descriptor: number, kind = OTHER): void {
    this.shared.owned[descriptor] = kind;
  }

  /** False if the system cannot watch any more. */
  poll(polled: Polled, events: number): boolean {
    const watched = this.#control(EPOLL_CTL_ADD, polled.descriptor, events);
    if (watched) this.#polled[polled.descriptor] = polled;
    return watched;
  }

  /** Stops listening to a descriptor that stays open. */
  ignore(descriptor: number): void {
    this.#polled[descriptor] = undefined;
    this.#control(EPOLL_CTL_DEL, descriptor, 0);
  }

  close(descriptor: number): void {
    this.#polled[descriptor] = undefined;
    this.#closing.push(descriptor);
  }

  report(report: Report): void {
    if (this.#reports.length === 0) this.#reporting_at = this.now;
    this.#reports.push(report);
  }

  stop(): void {
    this.#stopping = true;
  }

  /** Runs until it is told to stop. */
  run(turn: Turn): void {
    const { linux, shared } = this;
    const events = Buffer.allocUnsafeSlow(EVENT_SIZE * EVENTS_MAX);
    const events_at = linux.pin(events);
    const view = new DataView(events.buffer, events.byteOffset, events.length);
    this.#settle(); // what was tried out is closed before anybody hears that we are ready
    while (!this.#stopping) {
      Atomics.store(shared.bell, ASLEEP, 1);
      const busy = this.#reports.length > 0 || Atomics.load(shared.bell, SENT) !== this.#taken;
      const sleep_ms = busy ? 0 : turn.due();
      const timeout = Math.ceil(Math.min(Math.max(sleep_ms, 0), SLEEP_MAX_MS));
      const count = linux.epoll_wait(this.#epoll, events_at, EVENTS_MAX, timeout);
      Atomics.store(shared.bell, ASLEEP, 0);
      this.now = monotonic_ms() - this.#epoch_ms;
      if (count === 0 || this.now - this.#reporting_at >= REPORT_MS) this.#send();
      this.#takeCommands(turn);
      for (let at = 0; at < count * EVENT_SIZE; at += EVENT_SIZE) {
        this.#polled[view.getInt32(at + EVENT_DATA, true)]?.onEvents(view.getUint32(at, true));
      }
      turn.work();
      this.#settle();
    }
    for (const [descriptor, owned] of shared.owned.entries()) if (owned) this.close(descriptor);
    this.#settle();
    this.#send();
  }

  #takeCommands(turn: Turn): void {
    while (Atomics.load(this.shared.bell, SENT) !== this.#taken) {
      const commands = this.#port.receive();
      if (!commands) return;
      this.#taken = (this.#taken + 1) | 0;
      for (const command of commands) turn.command(command);
    }
  }

  #settle(): void {
    for (const descriptor of this.#closing) {
      this.shared.owned[descriptor] = 0;
      this.linux.close(descriptor);
    }
    this.#closing = [];
  }

  #send(): void {
    if (this.#reports.length === 0) return;
    this.#port.send(this.#reports);
    this.#reports = [];
  }

  #control(operation: number, descriptor: number, events: number): boolean {
    this.#change.writeUInt32LE(events >>> 0, 0);
    this.#change.writeInt32LE(descriptor, EVENT_DATA);
    return this.linux.epoll_ctl(this.#epoll, operation, descriptor, this.#change_at) === 0;
  }
}
