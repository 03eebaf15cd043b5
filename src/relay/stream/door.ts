import type { Socket } from "node:net";
import { Deadline } from "../../core/deadline.ts";
import { Fault } from "../../core/fault.ts";
import { type Listener, listen } from "../../net/listen.ts";
import { readHello } from "../../net/read-hello.ts";
import { sourceOf } from "../../net/source.ts";
import { Admission, type DoorSettings, refusalOf } from "../doors/admission.ts";
import type { Greeting } from "../doors/greeting.ts";
import { GREETINGS, type Greeted } from "../doors/greetings.ts";
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
  const strangers = new Set<Socket>();
  const admission = new Admission(settings);
  const { bind, setting } = settings;
  const listener = await listen({ bind, setting }, enter);
  events.watchStrangers(door, () => admission.inside);

  function enter(socket: Socket): void {
    socket.on("error", () => {}); // an error is followed by a close, which is what counts
    const address = socket.remoteAddress;
    const source = sourceOf(address);
    const refused = admission.refuses(address, source);
    if (refused) {
      socket.destroy();
      events.turnedAway(door, refused, { source });
      return;
    }
    const came_at = performance.now();
    const line = new SocketLine(socket);
    strangers.add(socket);
    hear(socket, greeting, settings.hello_timeout_ms)
      .then((hello) => {
        const arrived_at = performance.now();
        events.helloHeard(door, arrived_at - came_at);
        admit(hello, { door, line, arrived_at });
      })
      .catch((reason) => {
        const fault = Fault.from(reason);
        const gone = socket.readableEnded || socket.destroyed;
        events.turnedAway(door, refusalOf(fault, gone), { source });
        line.hangUp(greeting.farewell(fault));
      })
      .finally(() => {
        strangers.delete(socket);
        admission.leave(source);
      });
  }

  return {
    port: listener.port,
    async [Symbol.asyncDispose]() {
      await listener[Symbol.asyncDispose]();
      for (const stranger of strangers) stranger.destroy();
    },
  };
}

/** Reads the hello and puts back what follows it. */
async function hear(socket: Socket, greeting: Greeting, timeout_ms: number): Promise<string> {
  using deadline = new Deadline(timeout_ms, "a hello");
  let bytes = Buffer.alloc(0);
  const { hello, used } = await readHello(
    socket,
    () => {
      for (let more = socket.read(); more; more = socket.read())
        bytes = Buffer.concat([bytes, more]);
      return greeting.read(bytes);
    },
    deadline.signal,
  );
  if (bytes.length > used) socket.unshift(bytes.subarray(used));
  return hello;
}
