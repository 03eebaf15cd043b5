import type { Socket } from "node:net";
import { type Listener, listen } from "../../net/listen.ts";
import type { DoorSettings } from "../doors/admission.ts";
import { GREETINGS, type Greeted } from "../doors/greetings.ts";
import { hearGreeting, Strangers } from "../doors/strangers.ts";
import type { Admit } from "../engine.ts";
import type { RelayEvents } from "../events.ts";
import type { Line } from "../leg.ts";
import { SocketLine } from "./line.ts";

type Deps = {
  events: RelayEvents;
  /** Takes over a socket for another engine, once its hello was heard. */
  adopt?(socket: Socket, signal: AbortSignal): Promise<Line>;
};

/** Strangers come in, each a socket of Node's, and say their hello. */
export async function openStreamDoor(
  door: Greeted,
  settings: DoorSettings,
  { events, adopt }: Deps,
  admit: Admit,
): Promise<Listener> {
  const greeting = GREETINGS[door];
  const strangers = new Strangers(door, settings, events);
  const enter = (socket: Socket): void => {
    let line: Line = new SocketLine(socket);
    void strangers.greet(socket, {
      hear: async (signal) => {
        const hello = await hearGreeting(socket, greeting, signal);
        if (adopt) line = await adopt(socket, signal);
        return hello;
      },
      admit: (hello) => admit(hello, { door, line, arrived_at: performance.now() }),
      turnAway: (fault) => line.hangUp(greeting.farewell(fault)),
    });
  };
  const listener = await listen(settings, enter, (source) =>
    events.turnedAway(door, "rate", { source }),
  );
  events.watchStrangers(door, () => strangers.inside);
  return {
    port: listener.port,
    async [Symbol.asyncDispose]() {
      await listener[Symbol.asyncDispose]();
      strangers.close();
    },
  };
}
