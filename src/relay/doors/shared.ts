import type { Socket } from "node:net";
import { Fault } from "../../core/fault.ts";
import { type Listener, listen, type Share } from "../../net/listen.ts";
import { type Beginning, beginningOf } from "../../wire/beginning.ts";
import type { RelayEvents } from "../events.ts";
import type { AdmissionLimits } from "./admission.ts";
import type { Greeting } from "./greeting.ts";
import { hearGreeting, Strangers } from "./strangers.ts";

type Place = { readonly limits: AdmissionLimits; receive(socket: Socket): void };

/** The first byte, which stays in the connection. */
const FIRST_BYTE: Greeting = {
  size_max: 1,
  read: ([first]) => (first === undefined ? undefined : { hello: beginningOf(first), used: 0 }),
  farewell: () => undefined,
};

/**
 * A port where several doors are, each for those who begin in another way. Until a stranger has said its
 * first byte, it is one of this port, within the most that any of the doors allows; then it is shown to its
 * door, which has never seen it before and whose own limits hold from there on.
 */
export class SharedPort {
  readonly #bind: string;
  readonly #places = new Map<Beginning, Place>();
  readonly #strangers: Strangers;
  #listener: Promise<Listener> | undefined;

  constructor(bind: string, events: RelayEvents) {
    this.#bind = bind;
    const most = (of: keyof AdmissionLimits): number =>
      Math.max(...[...this.#places.values()].map(({ limits }) => limits[of]));
    const limits: AdmissionLimits = {
      get hello_timeout_ms() {
        return most("hello_timeout_ms");
      },
      get strangers_max() {
        return most("strangers_max");
      },
      get strangers_per_source_max() {
        return most("strangers_per_source_max");
      },
    };
    this.#strangers = new Strangers("shared", limits, events);
    events.watchStrangers("shared", () => this.#strangers.inside);
  }

  /** What a door listens at that is for those who begin so. The port is open while one of its doors is. */
  share(beginning: Beginning, limits: AdmissionLimits): Share {
    return {
      join: async ({ setting }, receive) => {
        this.#places.set(beginning, { limits, receive });
        this.#listener ??= listen({ bind: this.#bind, setting }, (socket) => this.#enter(socket));
        const { port } = await this.#listener;
        return { port, [Symbol.asyncDispose]: () => this.#leave(beginning) };
      },
    };
  }

  async #leave(beginning: Beginning): Promise<void> {
    this.#places.delete(beginning);
    if (this.#places.size > 0) return;
    await (await this.#listener)?.[Symbol.asyncDispose]();
    this.#strangers.close();
  }

  #enter(socket: Socket): void {
    void this.#strangers.greet(socket, {
      hear: async (signal) => {
        const place = this.#places.get(
          (await hearGreeting(socket, FIRST_BYTE, signal)) as Beginning,
        );
        if (!place) throw new Fault("malformed", "no door at this port is for who begins so");
        return place;
      },
      admit: (place) => place.receive(socket),
      turnAway: () => socket.destroy(),
    });
  }
}
