import type { Router } from "zeromq";
import type { SwitchEvents } from "./events.ts";
import {
  bindInside,
  type Curve,
  lossOf,
  type SocketLimits,
  socketOptions,
  type ZeroMQ,
} from "./zeromq.ts";

/** What peers that are ROUTERs themselves address the proxy by (seed-systems 4.3). */
const OWN_NAME = "R";
/** Names that only a peer of this machine may have: a CAMEO server, and a responder of any application. */
const PROTECTED = /^(?:0:0$|responder-)/;
/** A ROUTER names a peer that does not name itself by a zero byte and four more. */
const GIVEN_SIZE = 5;
/** What stands behind the zero byte of the name of one from elsewhere, so that it is one byte longer. */
const ELSEWHERE = 0x72;

/**
 * The responder proxy: one name for each peer, and whoever sends `[to, "", ...payload]` is heard there
 * with its own name in that place. The answer takes the same way back.
 *
 * libzmq does not tell where a peer is. So there are two ROUTERs, for peers of this machine and for
 * those from elsewhere, and the port knows which is which: a message from elsewhere may go anywhere, but
 * never comes from a name that is protected, and what is for such a name stays here. A name that libzmq
 * gave is told to others with a mark if it is of the other side, because both may give the same one.
 */
export class ResponderProxy implements AsyncDisposable {
  readonly #near: Router;
  readonly #far: Router;
  readonly #events: SwitchEvents;
  #ports = { near: 0, far: 0 };
  /** Settles when it is closed; rejects if it breaks. */
  over: Promise<unknown> = Promise.resolve();

  private constructor(
    zmq: ZeroMQ,
    limits: SocketLimits,
    { curve, events }: { curve: Curve | undefined; events: SwitchEvents },
  ) {
    const common = { routingId: OWN_NAME, mandatory: true };
    // An application that was restarted takes the place of its old connection, whatever is left of that.
    this.#near = new zmq.Router({ ...common, handover: true, ...socketOptions(limits) });
    this.#far = new zmq.Router({ ...common, ...socketOptions(limits, curve) });
    this.#events = events;
  }

  static async open(
    zmq: ZeroMQ,
    limits: SocketLimits,
    deps: { curve: Curve | undefined; events: SwitchEvents },
  ): Promise<ResponderProxy> {
    const proxy = new ResponderProxy(zmq, limits, deps);
    proxy.#ports = { near: await bindInside(proxy.#near), far: await bindInside(proxy.#far) };
    proxy.over = Promise.all([proxy.#serve("near"), proxy.#serve("far")]);
    return proxy;
  }

  /** Where connections go, on the loopback of this machine. */
  get ports(): { readonly near: number; readonly far: number } {
    return this.#ports;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#near.close();
    this.#far.close();
    await this.over.catch(() => {});
  }

  async #serve(side: "near" | "far"): Promise<void> {
    const from = side === "near" ? this.#near : this.#far;
    for await (const [origin, , to, , ...payload] of from) {
      if (!origin || !to || payload.length === 0) this.#events.lost("responder", "malformed", to);
      else if (side === "far" && isProtected(origin)) {
        this.#events.lost("responder", "forbidden", origin);
      } else await this.#pass({ origin: side === "far" ? marked(origin) : origin, to, payload });
    }
  }

  async #pass({ origin, to, payload }: Letter): Promise<void> {
    const frames = ["", origin, "", ...payload];
    try {
      await this.#deliver(to, frames);
      this.#events.passed("responder", payload);
    } catch (reason) {
      // Nobody is told: any answer to a SYNC would count as success.
      this.#events.lost("responder", lossOf(reason), to);
    }
  }

  async #deliver(to: Buffer, frames: Array<Buffer | string>): Promise<void> {
    const given = unmarked(to);
    if (given) return await this.#far.send([given, ...frames]);
    try {
      await this.#near.send([to, ...frames]);
    } catch (reason) {
      if (lossOf(reason) !== "unknown" || to[0] === 0 || isProtected(to)) throw reason;
      await this.#far.send([to, ...frames]);
    }
  }
}

type Letter = { origin: Buffer; to: Buffer; payload: Buffer[] };

function isProtected(name: Buffer): boolean {
  return name[0] !== 0 && PROTECTED.test(name.toString("latin1"));
}

/** How a peer from elsewhere is known to others. A name of its own choice never begins with a zero byte. */
function marked(name: Buffer): Buffer {
  if (name[0] !== 0) return name;
  return Buffer.concat([Buffer.of(0, ELSEWHERE), name.subarray(1)]);
}

/** What libzmq calls the peer that others know by this name, if it is from elsewhere and did not choose one. */
function unmarked(name: Buffer): Buffer | undefined {
  if (name.length !== GIVEN_SIZE + 1 || name[0] !== 0 || name[1] !== ELSEWHERE) return undefined;
  return Buffer.concat([Buffer.of(0), name.subarray(2)]);
}
