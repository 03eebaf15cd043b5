import type { Socket } from "node:net";
import { Deadline } from "../../core/deadline.ts";
import { explain, Fault } from "../../core/fault.ts";
import { readHello } from "../../net/read-hello.ts";
import { sourceOf } from "../../net/source.ts";
import type { RelayEvents } from "../events.ts";
import type { Door } from "../leg.ts";
import { Admission, type AdmissionLimits, refusalOf } from "./admission.ts";
import type { Greeting } from "./greeting.ts";

type Welcome<Hello> = {
  /** Reads what it says first, before the signal aborts. */
  hear(signal: AbortSignal): Promise<Hello>;
  /** Has the socket from here on. What it throws turns the stranger away as well. */
  admit(hello: Hello): void;
  /** Has to close the socket. */
  turnAway(fault: Fault): void;
};

/**
 * Those who came in by a door as sockets of Node's and have not said yet what they want: how many
 * there may be, how long each may take, and one reason told for each that is turned away.
 */
export class Strangers {
  readonly #door: Door;
  readonly #limits: AdmissionLimits;
  readonly #events: RelayEvents;
  readonly #admission: Admission;
  readonly #inside = new Set<Socket>();

  constructor(door: Door, limits: AdmissionLimits, events: RelayEvents) {
    this.#door = door;
    this.#limits = limits;
    this.#events = events;
    this.#admission = new Admission(limits);
  }

  get inside(): number {
    return this.#admission.inside;
  }

  async greet<Hello>(socket: Socket, { hear, admit, turnAway }: Welcome<Hello>): Promise<void> {
    socket.on("error", () => {}); // an error is followed by a close, which is what counts
    const source = sourceOf(socket.remoteAddress);
    const refused = this.#admission.refuses(source);
    if (refused) {
      socket.destroy();
      this.#events.turnedAway(this.#door, refused, { source });
      return;
    }
    const came_at = performance.now();
    this.#inside.add(socket);
    try {
      using deadline = new Deadline(this.#limits.hello_timeout_ms, "a hello");
      const hello = await hear(deadline.signal);
      this.#events.helloHeard(this.#door, performance.now() - came_at);
      admit(hello);
    } catch (reason) {
      const fault = Fault.from(reason);
      const gone = socket.readableEnded || socket.destroyed;
      const story = { source, reason: explain(fault) };
      this.#events.turnedAway(this.#door, refusalOf(fault, gone), story);
      turnAway(fault);
    } finally {
      this.#inside.delete(socket);
      this.#admission.leave(source);
    }
  }

  /** Hangs up on all who are inside. */
  close(): void {
    for (const socket of this.#inside) socket.destroy();
  }
}

/** Reads a greeting and puts back what follows it. */
export async function hearGreeting(
  socket: Socket,
  greeting: Greeting,
  signal: AbortSignal,
): Promise<string> {
  let bytes = Buffer.alloc(0);
  const take = (): string | undefined => {
    for (let more = socket.read(); more; more = socket.read()) bytes = Buffer.concat([bytes, more]);
    const found = greeting.read(bytes);
    if (!found) return undefined;
    // At once, or an end behind it would be told first.
    if (bytes.length > found.used) socket.unshift(bytes.subarray(found.used));
    return found.hello;
  };
  return await readHello(socket, take, signal);
}
