import type { Socket } from "node:net";
import { nanoid } from "nanoid";
import { Deadline } from "../../core/deadline.ts";
import { explain } from "../../core/fault.ts";
import { dial } from "../../net/dial.ts";
import { type Listener, listen } from "../../net/listen.ts";
import { readExactly } from "../../net/read-hello.ts";
import { Holdings, sourceOf, unmapped } from "../../net/source.ts";
import { GREETING_SIZE } from "../../wire/zmtp.ts";
import type { Circuits } from "../circuits.ts";
import type { DoorSettings } from "../doors/admission.ts";
import { hearGreeting, Strangers } from "../doors/strangers.ts";
import { ZMTP_PEER } from "../doors/zmtp.ts";
import type { Engine } from "../engine.ts";
import type { RelayEvents } from "../events.ts";
import type { Door, Line } from "../leg.ts";

const DIAL_MS = 5_000;

type SwitchPort = {
  readonly door: Extract<Door, "responder" | "publisher" | "internal">;
  readonly settings: DoorSettings & {
    readonly peers_max: number;
    readonly peers_per_source_max: number;
  };
  /** Where the socket of a switch waits for peers of this machine, and for others if they are let in. */
  readonly inside: { readonly near: number; readonly far?: number };
};

type Dependencies = { engine: Engine; circuits: Circuits; events: RelayEvents };

/**
 * A public port of a switch. It looks where a peer comes from, which libzmq does not tell, and whether
 * it speaks ZeroMQ at all; then the peer is spliced to the socket for such as it.
 */
export class PeerPort {
  readonly #port: SwitchPort;
  readonly #deps: Dependencies;
  readonly #strangers: Strangers;
  readonly #far: Holdings;
  #peers = 0;

  constructor(port: SwitchPort, deps: Dependencies) {
    this.#port = port;
    this.#deps = deps;
    this.#strangers = new Strangers(port.door, port.settings, deps.events);
    this.#far = new Holdings(port.settings.peers_per_source_max);
    deps.events.watchStrangers(port.door, () => this.#strangers.inside);
  }

  async open(): Promise<Listener> {
    const { door, settings } = this.#port;
    const listener = await listen(
      settings,
      (socket) => this.enter(socket, isOfThisMachine(socket) ? "near" : "far"),
      (source) => this.#deps.events.turnedAway(door, "rate", { source }),
    );
    return {
      port: listener.port,
      [Symbol.asyncDispose]: async () => {
        await listener[Symbol.asyncDispose]();
        this.#strangers.close();
      },
    };
  }

  /** Takes over a connection, and where its peer is has been found out. */
  enter(socket: Socket, side: "near" | "far"): void {
    if (this.#port.inside[side] === undefined) {
      this.#refuse(socket, "forbidden");
      return;
    }
    void this.#strangers.greet(socket, {
      hear: (signal) => hearGreeting(socket, ZMTP_PEER, signal),
      admit: () => void this.#admit(socket, side),
      turnAway: () => void socket.destroy(),
    });
  }

  /** The same for a peer that has been greeted, and has answered; all that it said is in the connection still. */
  welcome(socket: Socket, side: "near" | "far"): void {
    void this.#admit(socket, side, { greeted: true });
  }

  async #admit(socket: Socket, side: "near" | "far", { greeted = false } = {}): Promise<void> {
    const { door, settings, inside } = this.#port;
    const { engine, circuits, events } = this.#deps;
    const source = sourceOf(socket.remoteAddress);
    const refused =
      this.#peers >= settings.peers_max
        ? "crowd"
        : side === "far" && !this.#far.take(source, settings.peers_per_source_max)
          ? "source_crowd"
          : undefined;
    if (refused) {
      this.#refuse(socket, refused);
      return;
    }
    this.#peers += 1;
    const lines: Line[] = [];
    try {
      const arrived_at = performance.now();
      using deadline = new Deadline(DIAL_MS, "reaching the switch");
      const within = await dial(`127.0.0.1:${inside[side]}`, deadline.signal);
      within.on("error", () => {}); // an error is followed by a close, which the splice sees
      if (greeted) {
        within.write(socket.read(GREETING_SIZE) as Buffer);
        await readExactly(within, GREETING_SIZE, deadline.signal); // the peer has heard one
      }
      lines.push(await adopt(engine, within, deadline.signal));
      lines.push(await adopt(engine, socket, deadline.signal));
      const [callee, caller] = lines as [Line, Line];
      await circuits.add({
        names: { caller: peerOf(source, side), callee: door, request: nanoid(12) },
        legs: {
          caller: { door, line: caller, arrived_at },
          callee: { door, line: callee, arrived_at: performance.now() },
        },
      });
    } catch (reason) {
      for (const line of lines) line.hangUp();
      socket.destroy();
      events.turnedAway(door, "unreachable", { source, reason: explain(reason) });
    } finally {
      this.#peers -= 1;
      if (side === "far") this.#far.release(source);
    }
  }

  #refuse(socket: Socket, why: "forbidden" | "crowd" | "source_crowd"): void {
    const source = sourceOf(socket.remoteAddress);
    socket.on("error", () => {}).destroy();
    this.#deps.events.turnedAway(this.#port.door, why, { source });
  }
}

function peerOf(source: string, side: "near" | "far"): string {
  return side === "near" ? "this machine" : source;
}

async function adopt(engine: Engine, socket: Socket, signal: AbortSignal): Promise<Line> {
  try {
    return await engine.adopt(socket, signal);
  } catch (reason) {
    socket.destroy();
    throw reason;
  }
}

/**
 * Whoever dials an address of its own machine is seen coming from that address, or from a loopback one,
 * which no network delivers.
 */
export function isOfThisMachine({
  remoteAddress = "",
  localAddress = "",
}: Pick<Socket, "remoteAddress" | "localAddress">): boolean {
  const remote = unmapped(remoteAddress);
  return remote !== "" && (remote === unmapped(localAddress) || LOOPBACK.test(remote));
}

const LOOPBACK = /^(?:127\.\d+\.\d+\.\d+|::1)$/;
