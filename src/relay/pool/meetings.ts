import type { Socket } from "node:net";
import { nanoid } from "nanoid";
import { Deadline } from "../../core/deadline.ts";
import { explain } from "../../core/fault.ts";
import { reset } from "../../net/reset.ts";
import type { Circuits } from "../circuits.ts";
import type { Engine } from "../engine.ts";
import type { RelayEvents } from "../events.ts";
import type { Door, Line, Names, Outcome } from "../leg.ts";
import type { Demand, Match, Pools } from "../rendezvous/pool.ts";
import type { Gate } from "../zmtp/gate.ts";
import type { Ear } from "./ears.ts";
import type { Waiting } from "./waiting.ts";

const ADOPT_MS = 5_000;
/** Connections that one client may find broken before it is turned away. */
const TRIES_MAX = 3;

/** A connection of an agent has a session, which is its number; a client at a gate has an opening. */
export type Leg = Waiting & {
  readonly session?: number;
  readonly opening?: Buffer;
  /** How many broken connections this client was given. */
  tries: number;
};

type Dependencies = {
  door: Door;
  /** In front of ZeroMQ workers. */
  gate: Gate | undefined;
  pools: Pools<Leg, Ear>;
  engine: Engine;
  circuits: Circuits;
  events: RelayEvents;
};

/** Makes circuits of those who met in a pool. */
export class Meetings {
  readonly #deps: Dependencies;
  readonly #signal: AbortSignal;

  constructor(deps: Dependencies, signal: AbortSignal) {
    this.#deps = deps;
    this.#signal = signal;
  }

  /** Resolves once it is over, which it is for both when it is for one of them. */
  async join({ offer, demand }: Match<Leg>): Promise<void> {
    const { door, gate, pools, circuits, events } = this.#deps;
    const { socket: client, opening } = demand.leg;
    const worker = offer.leg.take();
    // libzmq dials never again after a protocol error. Who has no agent might, and hears one client only.
    let committed = opening !== undefined && offer.leg.session === undefined && !worker.destroyed;
    const commit = (): void => {
      committed = true;
    };
    try {
      if (gate && opening) {
        await gate.introduce({ client, worker, opening }, commit, this.#signal);
        gate.succeeded(demand.source);
      }
      const callee = await this.#adopt(worker);
      commit();
      const caller = await this.#adopt(demand.leg.take()).catch((reason) => {
        callee.hangUp();
        throw reason;
      });
      const outcome = await circuits.add({
        names: this.namesOf(demand, offer.leg),
        legs: {
          caller: { door, line: caller, arrived_at: demand.leg.arrived_at },
          callee: { door, line: callee, arrived_at: offer.leg.arrived_at },
        },
      });
      pools.leave(outcome.by === "callee" ? offer : demand, { failed: hasFailed(outcome) });
    } catch (reason) {
      worker.destroy();
      demand.leg.tries += 1;
      if (!committed && demand.leg.tries < TRIES_MAX && pools.again(demand)) return;
      if (opening && !this.#signal.aborted) gate?.failed(demand.source);
      const gone = client.destroyed;
      const left = pools.leave(gone ? demand : offer, { failed: !committed && !gone });
      const story = { ...this.namesOf(demand), reason: explain(reason) };
      if (left) events.turnedAway(door, opening ? "handshake" : "unreachable", story);
      reset(demand.leg.take());
    }
  }

  namesOf({ leg, pool }: Demand<Leg>, served?: Leg): Names {
    const names = { caller: leg.peer, callee: pool, request: nanoid(12) };
    if (!served) return names;
    const { peer: server, session } = served;
    return { ...names, server, ...(session !== undefined && { session }) };
  }

  /** Gives a connection to the engine, or throws if it is gone. */
  async #adopt(socket: Socket): Promise<Line> {
    using deadline = new Deadline(ADOPT_MS, "a waiting connection");
    return await this.#deps.engine.adopt(socket, deadline.signal);
  }
}

/** An agent whose connection breaks before it has said a word could not do what it is there for. */
function hasFailed({ ending, by, bytes }: Outcome): boolean {
  return ending === "broken" && by === "callee" && bytes.callee === 0;
}
