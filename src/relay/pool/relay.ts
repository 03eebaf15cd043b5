import { setMaxListeners } from "node:events";
import type { Socket } from "node:net";
import { explain, Fault } from "../../core/fault.ts";
import { Scope } from "../../core/scope.ts";
import { type Listener, listen } from "../../net/listen.ts";
import { sourceOf, unmapped } from "../../net/source.ts";
import { decodeHello, encodeHelloResponse } from "../../wire/relayserver.ts";
import type { Circuits } from "../circuits.ts";
import { type DoorSettings, refusalOf } from "../doors/admission.ts";
import { type EntranceTls, openEntrance } from "../doors/entrance.ts";
import { hearGreeting, Strangers } from "../doors/strangers.ts";
import { ZMTP_WORKER } from "../doors/zmtp.ts";
import type { Engine } from "../engine.ts";
import type { RelayEvents } from "../events.ts";
import type { Door } from "../leg.ts";
import { readMessage } from "../read-message.ts";
import { type Demand, type PoolCount, Pools } from "../rendezvous/pool.ts";
import type { PoolsTerms } from "../rendezvous/pool-terms.ts";
import { Gate, type GateSettings } from "../zmtp/gate.ts";
import { ownerOf, type Terms } from "./agents.ts";
import { type Ear, hearAlong } from "./ears.ts";
import { type Leg, Meetings } from "./meetings.ts";
import { asking, farewell, offered } from "./waiting.ts";

const SESSION_MAX = 2 ** 31 - 1;

/**
 * Where connections of agents wait, where agents hear of them, where servers wait that dial in
 * without an agent, if they may, and where clients come.
 */
type PoolPorts = Record<"data" | "command" | "client", DoorSettings> & {
  readonly worker?: DoorSettings | undefined;
};

type PoolRelaySettings = {
  readonly terms: Terms;
  readonly ports: PoolPorts;
  readonly tls: EntranceTls | undefined;
  readonly pools: PoolsTerms;
  /** Command channels that may be open, read once. */
  readonly listeners_max: number;
  /** With it clients and workers are ZeroMQ peers with CURVE; without it they may be anybody. */
  readonly gate: GateSettings | undefined;
};

type Dependencies = { engine: Engine; circuits: Circuits; events: RelayEvents };

/**
 * A relay as RelayServer and StreamQ-Proxy are (seed-systems 2, 3): servers keep connections waiting
 * at it, each client is given one, and agents hear which session has a client and which has lost it.
 */
export async function openPoolRelay(
  settings: PoolRelaySettings,
  deps: Dependencies,
): Promise<PoolRelay> {
  const relay = new PoolRelay(settings, deps);
  try {
    await relay.open();
  } catch (reason) {
    await relay[Symbol.asyncDispose]();
    throw reason;
  }
  return relay;
}

export class PoolRelay implements AsyncDisposable {
  readonly #settings: PoolRelaySettings;
  readonly #deps: Dependencies;
  readonly #pools: Pools<Leg, Ear>;
  readonly #gate: Gate | undefined;
  readonly #meetings: Meetings;
  readonly #door: Door;
  readonly #strangers: Record<"server" | "client", Strangers>;
  readonly #scope = new Scope();
  readonly #channels = new Set<Socket>();
  readonly #ports: Partial<Record<keyof PoolPorts, Listener>> = {};
  #sessions = 0;

  constructor(settings: PoolRelaySettings, deps: Dependencies) {
    this.#settings = settings;
    this.#deps = deps;
    this.#gate = settings.gate && new Gate(settings.gate);
    this.#door = this.#gate ? "zmtp" : "pool";
    const { data, client } = settings.ports;
    this.#strangers = {
      server: new Strangers(this.#door, data, deps.events),
      client: new Strangers(this.#door, client, deps.events),
    };
    setMaxListeners(0, this.#scope.signal);
    this.#pools = new Pools<Leg, Ear>(settings.pools, {
      met: (match, ears) => {
        const { session } = match.offer.leg;
        if (session !== undefined) for (const ear of ears) ear.announce({ what: "open", session });
        void this.#meetings.join(match);
      },
      parted: ({ offer }, by, ears) => {
        const { session } = offer.leg;
        if (session === undefined || by === "offer") return;
        for (const ear of ears) ear.announce({ what: "drop", session });
      },
      lonely: (demand) => {
        deps.events.lonely(this.#meetings.namesOf(demand));
        farewell(demand.leg.take());
      },
    });
    this.#meetings = new Meetings(
      { door: this.#door, gate: this.#gate, pools: this.#pools, ...deps },
      this.#scope.signal,
    );
  }

  /** Gives nobody a connection for now; who has one keeps it. */
  suspend(): void {
    this.#pools.suspend(this.#settings.terms.pool);
  }

  resume(): void {
    this.#pools.resume(this.#settings.terms.pool);
  }

  /** Which port each of them is. */
  get ports(): Partial<Record<keyof PoolPorts, number>> {
    return Object.fromEntries(Object.entries(this.#ports).map(([name, { port }]) => [name, port]));
  }

  get count(): PoolCount {
    const nothing = { offers: 0, demands: 0, matches: 0, listeners: 0, suspended: false };
    const [{ offers, demands, matches, listeners, suspended } = nothing] = this.#pools.list();
    return { offers, demands, matches, listeners, suspended };
  }

  async open(): Promise<void> {
    const scope = this.#scope;
    const { ports, tls, listeners_max } = this.#settings;
    const { events } = this.#deps;
    scope.defer(() => {
      for (const leg of this.#pools.clear()) farewell(leg.take());
      for (const socket of this.#channels) socket.destroy();
      for (const strangers of Object.values(this.#strangers)) strangers.close();
    });
    for (const strangers of Object.values(this.#strangers))
      events.watchStrangers(this.#door, () => strangers.inside);
    const refused = (why: "rate" | "malformed", story: Record<string, string>): void =>
      events.turnedAway(this.#door, why, story);
    const plainly = (port: DoorSettings, enter: (socket: Socket) => void) =>
      listen(port, enter, (source) => refused("rate", { source }));
    const come = this.#gate ? this.#greet.bind(this) : this.#ask.bind(this);
    this.#ports.client = scope.use(await plainly(ports.client, (socket) => void come(socket)));
    if (ports.worker) {
      const wait = this.#gate ? this.#hearWorker.bind(this) : this.#offerWorker.bind(this);
      this.#ports.worker = scope.use(await plainly(ports.worker, (socket) => void wait(socket)));
    }
    const { bind, setting, share } = ports.command;
    const command = { bind, setting, share, connections_max: listeners_max };
    const hear = { enter: (socket: Socket) => void this.#hear(socket), refused };
    this.#ports.command = scope.use(await openEntrance(command, tls, hear));
    const offer = { enter: (socket: Socket) => void this.#hearAgent(socket), refused };
    this.#ports.data = scope.use(await openEntrance(ports.data, tls, offer));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#scope[Symbol.asyncDispose]();
  }

  /** A connection of an agent comes to wait: hello, response, and from then on it is the next client's. */
  #hearAgent(socket: Socket): Promise<void> {
    const { terms } = this.#settings;
    return this.#strangers.server.greet(socket, {
      hear: async (signal) => decodeHello(await readMessage(socket, signal)),
      admit: (hello) => {
        const owner = ownerOf(socket, hello, terms);
        const session = this.#sessions;
        this.#sessions = session < SESSION_MAX ? session + 1 : 0;
        socket.cork(); // nothing goes out if there is no room for it
        socket.write(
          encodeHelloResponse({
            session,
            relay_host: unmapped(socket.localAddress ?? ""),
            relay_port: String(this.#ports.client?.port),
          }),
        );
        this.#offer(socket, owner, session);
        socket.uncork();
      },
      turnAway: () => socket.destroy(),
    });
  }

  /** A server that needs no agent comes to wait, as a ZeroMQ worker does. */
  #hearWorker(socket: Socket): Promise<void> {
    return this.#strangers.server.greet(socket, {
      hear: (signal) => hearGreeting(socket, ZMTP_WORKER, signal),
      admit: () => this.#offer(socket, `source ${sourceOf(socket.remoteAddress)}`),
      turnAway: () => socket.destroy(),
    });
  }

  /** The same, where anything may be said: it may wait from the start. */
  #offerWorker(socket: Socket): void {
    socket.on("error", () => {}); // an error is followed by a close, which is what counts
    try {
      this.#offer(socket, `source ${sourceOf(socket.remoteAddress)}`);
    } catch (reason) {
      this.#turnAway(socket, reason);
      socket.destroy();
    }
  }

  #offer(socket: Socket, owner: string, session?: number): void {
    if (socket.readableEnded || socket.destroyed) throw new Fault("malformed", "it has left");
    const lost = (): void => {
      if (this.#pools.leave(offer)) socket.destroy();
    };
    const leg = { ...offered(socket, lost), ...(session !== undefined && { session }), tries: 0 };
    const offer = { pool: this.#settings.terms.pool, owner, leg };
    try {
      this.#pools.offer(offer);
    } catch (reason) {
      leg.take();
      throw reason;
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
      if (!gone) this.#turnAway(socket, reason);
    });
  }

  /** A client that has to greet first. */
  async #greet(socket: Socket): Promise<void> {
    const gate = this.#gate as Gate;
    const source = sourceOf(socket.remoteAddress);
    if (gate.bans(source)) {
      socket.on("error", () => {}).destroy();
      this.#deps.events.turnedAway(this.#door, "banned", { source });
      return;
    }
    await this.#strangers.client.greet(socket, {
      hear: (signal) => gate.hear(socket, signal),
      admit: (opening) => this.#ask(socket, opening),
      turnAway: () => farewell(socket),
    });
  }

  #ask(socket: Socket, opening?: Buffer): void {
    socket.on("error", () => {});
    const source = sourceOf(socket.remoteAddress);
    const lost = (): void => {
      if (this.#pools.leave(demand)) socket.destroy();
    };
    const waiting = asking(socket, lost, { whole: opening !== undefined });
    const leg = { ...waiting, ...(opening && { opening }), tries: 0 };
    const demand: Demand<Leg> = { pool: this.#settings.terms.pool, source, key: source, leg };
    try {
      this.#pools.demand(demand);
    } catch (reason) {
      this.#turnAway(socket, reason);
      farewell(leg.take());
    }
  }

  #turnAway(socket: Socket, reason: unknown): void {
    const fault = Fault.from(reason);
    const story = { source: sourceOf(socket.remoteAddress), reason: explain(fault) };
    this.#deps.events.turnedAway(this.#door, refusalOf(fault, false), story);
  }
}
