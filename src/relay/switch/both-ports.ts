import type { Socket } from "node:net";
import { Fault } from "../../core/fault.ts";
import { type Listener, listen } from "../../net/listen.ts";
import { encodeGreeting } from "../../wire/zmtp.ts";
import type { DoorSettings } from "../doors/admission.ts";
import { hearGreeting, Strangers } from "../doors/strangers.ts";
import { ZMTP_SOCKET } from "../doors/zmtp.ts";
import type { RelayEvents } from "../events.ts";
import { isOfThisMachine, type PeerPort } from "./port.ts";

type Ports = { readonly responder: PeerPort; readonly publisher: PeerPort };

/** Who has to do with requests, and who with topics, by the sockets that ROUTER and XPUB speak to (RFC 28, 29). */
const PORT_OF: ReadonlyMap<string, keyof Ports> = new Map([
  ["REQ", "responder"],
  ["REP", "responder"],
  ["DEALER", "responder"],
  ["ROUTER", "responder"],
  ["SUB", "publisher"],
  ["XSUB", "publisher"],
]);

/**
 * Both public ports of a switch in one. Peers begin alike at both, and say what socket they are only to
 * somebody who has greeted them, so we do; the socket inside then greets them in vain. With CURVE they would
 * say it to nobody but that socket.
 */
export async function openBothPorts(
  settings: DoorSettings,
  ports: Ports,
  events: RelayEvents,
): Promise<Listener> {
  const strangers = new Strangers("responder", settings, events);
  const enter = (socket: Socket): void =>
    void strangers.greet(socket, {
      hear: async (signal) => {
        socket.write(encodeGreeting("NULL"));
        const kind = await hearGreeting(socket, ZMTP_SOCKET, signal);
        const name = PORT_OF.get(kind);
        if (!name) throw new Fault("malformed", `nothing here speaks to a ${kind} socket`);
        return ports[name];
      },
      admit: (port) => port.welcome(socket, isOfThisMachine(socket) ? "near" : "far"),
      turnAway: () => socket.destroy(),
    });
  const listener = await listen(settings, enter, (source) =>
    events.turnedAway("responder", "rate", { source }),
  );
  events.watchStrangers("responder", () => strangers.inside);
  return {
    port: listener.port,
    async [Symbol.asyncDispose]() {
      await listener[Symbol.asyncDispose]();
      strangers.close();
    },
  };
}
