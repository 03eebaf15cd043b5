import type { Socket } from "node:net";
import { type Listener, listen } from "../../net/listen.ts";
import type { DoorSettings } from "../doors/admission.ts";
import { GREETINGS, type Greeted } from "../doors/greetings.ts";
import { hearGreeting, Strangers } from "../doors/strangers.ts";
import type { Admit } from "../engine.ts";
import type { RelayEvents } from "../events.ts";
import { SocketLine } from "./line.ts";

/** Strangers come in, each a socket of Node's, and say their hello. */
export async function openStreamDoor(
  door: Greeted,
  settings: DoorSettings,
  { events }: { events: RelayEvents },
  admit: Admit,
): Promise<Listener> {
  const greeting = GREETINGS[door];
  const strangers = new Strangers(door, settings, events);
  const enter = (socket: Socket): void => {
    const line = new SocketLine(socket);
    void strangers.greet(socket, {
      hear: (signal) => hearGreeting(socket, greeting, signal),
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
