import { setMaxListeners } from "node:events";
import type { Socket } from "node:net";
import { nanoid } from "nanoid";
import { Deadline } from "../../core/deadline.ts";
import { explain, Fault } from "../../core/fault.ts";
import { Scope } from "../../core/scope.ts";
import { type Listener, listen } from "../../net/listen.ts";
import { sourceOf, unmapped } from "../../net/source.ts";
import { decodeHello, encodeHelloResponse } from "../../wire/relayserver.ts";
import type { Circuits } from "../circuits.ts";
import { Admission, type DoorSettings, refusalOf } from "../doors/admission.ts";
import type { Engine } from "../engine.ts";
import type { RelayEvents } from "../events.ts";
import type { Line, Names, Outcome } from "../leg.ts";
import { readMessage } from "../read-message.ts";
import { type Demand, type Match, Pools, type PoolsSettings } from "../rendezvous/pool.ts";
import { ownerOf, type Terms } from "./agents.ts";
import { type Ear, hearAlong } from "./ears.ts";
import { type AgentTls, openEntrance } from "./entrance.ts";
import { asking, farewell, offered, type Waiting } from "./waiting.ts";

const DOOR = "pool";
const SESSION_MAX = 2 ** 31 - 1;
const ADOPT_MS = 5_000;

/** The three ports of a pool: for connections that wait, for those who hear of them, and for clients. */
export type RelayPorts = Record<"data" | "command" | "client", DoorSettings>;

export type RelaySettings = {
  readonly terms: Terms;
  readonly ports: RelayPorts;
  readonly tls: AgentTls | undefined;
  readonly pools: PoolsSettings;
  /** Command channels that may be open, read once. */
  readonly listeners_max: number;
};

type Dependencies = { engine: Engine; circuits: Circuits; events: RelayEvents };

/** A connection of an agent has a session, which is its number; one of a client has none. */
type Leg = Waiting & { readonly socket: Socket; readonly session?: number };

/**
 * A relay as RelayServer is (seed-systems 2): agents keep connections waiting at it, each client is
 * given one, and agents hear which session has a client and which has lost it.
 */
export async function openRelay(settings: RelaySettings, deps: Dependencies): Promise<Relay> {
  const relay = new Relay(settings, deps);
  try {
    await relay.open();
  } catch (reason) {
    await relay[Symbol.asyncDispose]();
    throw reason;
  }
  return relay;
}

class Relay implements AsyncDisposable {
  readonly #settings: RelaySettings;
  readonly #deps: Dependencies;
  readonly #pools: Pools<Leg, Ear>;
  readonly #admission: Admission;
  readonly #scope = new Scope();
  readonly #strangers = new Set<Socket>();
  readonly #channels = new Set<Socket>();
  readonly #ports: Partial<Record<keyof RelayPorts, Listener>> = {};
  #sessions = 0;

  constructor(settings: RelaySettings, deps: Dependencies) {
    this.#settings = settings;
    this.#deps = deps;
    // How many come too soon is for the listener to see to, before there is any TLS.
    this.#admission = new Admission({
      get hello_timeout_ms() {
        return settings.ports.data.hello_timeout_ms;
      },
      get strangers_max() {
        return settings.ports.data.strangers_max;
      },
      get strangers_per_source_max() {
        return settings.ports.data.strangers_per_source_max;
      },
    });
    setMaxListeners(0, this.#scope.signal);
    this.#pools = new Pools<Leg, Ear>(settings.pools, {
      met: (match, ears) => {
        const { session = 0 } = match.offer.leg;
        for (const ear of ears) ear.announce({ what: "open", session });
        void this.#join(match);
      },
      parted: ({ offer }, by, ears) => {
        const { session = 0 } = offer.leg;
        if (by === "demand") for (const ear of ears) ear.announce({ what: "drop", session });
      },
      lonely: (demand) => {
        deps.events.lonely(this.#namesOf(demand.leg));
        farewell(demand.leg.take());
      },
    });
  }

  /** Which port each of the three is. */
  get ports(): Record<keyof RelayPorts, number> {
    const { data, command, client } = this.#ports;
    return { data: data?.port ?? 0, command: command?.port ?? 0, client: client?.port ?? 0 };
  }

  get strangers(): number {
    return this.#admission.inside;
  }

  get count(): { offers: number; demands: number; matches: number } {
    const [{ offers, demands, matches } = { offers: 0, demands: 0, matches: 0 }] =
      this.#pools.list();
    return { offers, demands, matches };
  }

  async open(): Promise<void> {
    const scope = this.#scope;
    const { ports, tls, listeners_max } = this.#settings;
    const { events } = this.#deps;
    scope.defer(() => {
      for (const leg of this.#pools.clear()) farewell(leg.take());
      for (const socket of [...this.#strangers, ...this.#channels]) socket.destroy();
    });
    const refused = (why: "rate" | "malformed", reason?: string): void =>
      events.turnedAway(DOOR, why, { reason });
    const client = await listen(
      ports.client,
      (socket) => this.#ask(socket),
      () => refused("rate"),
    );
    this.#ports.client = scope.use(client);
    const command = {
      bind: ports.command.bind,
      setting: ports.command.setting,
      connections_max: listeners_max,
    };
    this.#ports.command = scope.use(
      await openEntrance(command, tls, { enter: (socket) => void this.#hear(socket), refused }),
    );
    this.#ports.data = scope.use(
      await openEntrance(ports.data, tls, { enter: (socket) => void this.#offer(socket), refused }),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#scope[Symbol.asyncDispose]();
  }

  /** A connection comes to wait: hello, response, and from then on it is the next client's. */
  async #offer(socket: Socket): Promise<void> {
    const { terms, ports } = this.#settings;
    const { events } = this.#deps;
    socket.on("error", () => {}); // an error is followed by a close, which is what counts
    const source = sourceOf(socket.remoteAddress);
    const refused = this.#admission.refuses(socket.remoteAddress, source);
    if (refused) {
      socket.destroy();
      return events.turnedAway(DOOR, refused, { source });
    }
    const came_at = performance.now();
    this.#strangers.add(socket);
    try {
      const { signal } = this.#scope;
      using deadline = new Deadline(ports.data.hello_timeout_ms, "a hello", signal);
      const hello = decodeHello(await readMessage(socket, deadline.signal));
      const owner = ownerOf(socket, hello, terms);
      if (socket.readableEnded || socket.destroyed) throw new Fault("unreachable", "it has left");
      events.helloHeard(DOOR, performance.now() - came_at);
      const session = this.#sessions;
      this.#sessions = session < SESSION_MAX ? session + 1 : 0;
      socket.cork(); // nothing goes out if there is no room for it
      socket.write(
        encodeHelloResponse({
          session,
          relay_host: unmapped(socket.localAddress ?? ""),
          relay_port: String(this.ports.client),
        }),
      );
      const lost = (): void => {
        if (this.#pools.leave(offer)) socket.destroy();
      };
      const leg = { ...offered(socket, lost), socket, session };
      const offer = { pool: terms.pool, owner, leg };
      this.#pools.offer(offer);
      socket.uncork();
    } catch (reason) {
      const gone = socket.readableEnded || socket.destroyed;
      const story = { source, reason: explain(reason) };
      events.turnedAway(DOOR, refusalFor(Fault.from(reason), gone), story);
      socket.destroy();
    } finally {
      this.#strangers.delete(socket);
      this.#admission.leave(source);
    }
  }

  async #hear(socket: Socket): Promise<void> {
    const { terms, ports } = this.#settings;
    socket.on("error", () => {});
    this.#channels.add(socket);
    socket.on("close", () => this.#channels.delete(socket));
    const listening = {
      terms,
      hello_timeout_ms: ports.command.hello_timeout_ms,
      listen: (owner: string, ear: Ear) => this.#pools.listen(terms.pool, owner, ear),
    };
    await hearAlong(socket, listening, this.#scope.signal).catch((reason) => {
      const gone = socket.readableEnded || socket.destroyed;
      socket.destroy();
      if (gone) return;
      const story = { source: sourceOf(socket.remoteAddress), reason: explain(reason) };
      this.#deps.events.turnedAway(DOOR, refusalFor(Fault.from(reason), false), story);
    });
  }

  #ask(socket: Socket): void {
    socket.on("error", () => {});
    const source = sourceOf(socket.remoteAddress);
    const leg = { ...asking(socket, () => this.#pools.leave(demand)), socket };
    const demand: Demand<Leg> = { pool: this.#settings.terms.pool, source, key: source, leg };
    try {
      this.#pools.demand(demand);
    } catch (reason) {
      const story = { source, reason: explain(reason) };
      this.#deps.events.turnedAway(DOOR, refusalFor(Fault.from(reason), false), story);
      farewell(leg.take());
    }
  }

  /** Makes a circuit of two that met, which is over for both when it is for one of them. */
  async #join(match: Match<Leg>): Promise<void> {
    const { offer, demand } = match;
    const callee = await this.#adopt(offer.leg);
    if (!callee) {
      offer.leg.socket.destroy();
      if (this.#pools.again(demand)) return;
      this.#deps.events.turnedAway(DOOR, "unreachable", this.#namesOf(demand.leg));
      if (this.#pools.leave(offer, { failed: true })) demand.leg.take().resetAndDestroy();
      return;
    }
    const caller = await this.#adopt(demand.leg);
    if (!caller) {
      callee.hangUp();
      this.#pools.leave(demand);
      return;
    }
    const outcome = await this.#deps.circuits.add({
      names: this.#namesOf(demand.leg, offer.leg.session),
      legs: {
        caller: { door: DOOR, line: caller, arrived_at: demand.leg.arrived_at },
        callee: { door: DOOR, line: callee, arrived_at: offer.leg.arrived_at },
      },
    });
    this.#pools.leave(outcome.by === "callee" ? offer : demand, { failed: hasFailed(outcome) });
  }

  /** Gives a connection to the engine; undefined if it is gone. */
  async #adopt(leg: Leg): Promise<Line | undefined> {
    using deadline = new Deadline(ADOPT_MS, "a waiting connection");
    return await this.#deps.engine.adopt(leg.take(), deadline.signal).catch(() => undefined);
  }

  #namesOf({ peer }: Leg, session?: number): Names {
    const names = { caller: peer, callee: this.#settings.terms.pool, request: nanoid(12) };
    return session === undefined ? names : { ...names, session };
  }
}

/** An agent whose connection breaks before it has said a word could not do what it is there for. */
function hasFailed({ ending, by, bytes }: Outcome): boolean {
  return ending === "broken" && by === "callee" && bytes.callee === 0;
}

function refusalFor(fault: Fault, gone: boolean): ReturnType<typeof refusalOf> {
  switch (fault.fault) {
    case "forbidden":
      return "forbidden";
    case "not_found":
      return "unknown";
    case "overloaded":
      return "full";
    case "unreachable":
      return "unreachable";
    default:
      return refusalOf(fault, gone);
  }
}
