import type { Socket } from "node:net";
import { Deadline } from "../../core/deadline.ts";
import { Fault } from "../../core/fault.ts";
import { type Listener, type ListenOptions, listen } from "../../net/listen.ts";
import { Holdings, sourceOf } from "../../net/source.ts";
import type { Refusal, RelayEvents } from "../events.ts";
import type { Leg } from "../leg.ts";

const FAREWELL_MS = 1_000;

/** Its limits and its timeout are read for each stranger, so that they may change. */
export type DoorSettings = ListenOptions & {
  hello_timeout_ms: number;
  /** How many may be inside without having said what they want, from one source and in all. */
  strangers_per_source_max: number;
  strangers_max: number;
};

/** Reads a stranger's first bytes. Throws to turn the stranger away; what it wrote before still goes out. */
type Hear<Hello> = (socket: Socket, signal: AbortSignal) => Promise<Hello>;

/**
 * A place where strangers come in. Until one has said its hello it is the door's to time out and to
 * close; then the leg is `admit`'s, and no deadline of the door is left on it. Closing the door turns
 * strangers away and leaves admitted legs alone.
 */
export async function openDoor<Hello>(
  door: Leg["door"],
  settings: DoorSettings,
  hear: Hear<Hello>,
  { events }: { events: RelayEvents },
  admit: (hello: Hello, leg: Leg) => void,
): Promise<Listener> {
  const strangers = new Set<Socket>();
  const perSource = new Holdings(settings.strangers_per_source_max);

  const listener = await listen(settings, enter, () => events.turnedAway(door, "rate"));

  function enter(socket: Socket): void {
    socket.on("error", () => {}); // an error is followed by a close, which is what counts
    const source = sourceOf(socket.remoteAddress);
    const crowded = strangers.size >= settings.strangers_max;
    if (crowded || !perSource.take(source, settings.strangers_per_source_max)) {
      socket.destroy();
      events.turnedAway(door, crowded ? "crowd" : "source_crowd", { source });
      return;
    }
    const came_at = Date.now();
    strangers.add(socket);
    events.strangerCame(door);
    hearInTime(socket)
      .then((hello) => {
        const arrived_at = Date.now();
        events.helloHeard(door, arrived_at - came_at);
        admit(hello, { door, socket, arrived_at });
      })
      .catch((reason) => {
        events.turnedAway(door, refusalOf(reason, socket), { source });
        sendAway(socket);
      })
      .finally(() => {
        strangers.delete(socket);
        events.strangerLeft(door);
        perSource.release(source);
      });
  }

  async function hearInTime(socket: Socket): Promise<Hello> {
    using deadline = new Deadline(settings.hello_timeout_ms, "a hello");
    return await hear(socket, deadline.signal);
  }

  return {
    port: listener.port,
    async [Symbol.asyncDispose]() {
      await listener[Symbol.asyncDispose]();
      for (const stranger of strangers) stranger.destroy();
    },
  };
}

function refusalOf(reason: unknown, socket: Socket): Refusal {
  const { fault } = Fault.from(reason);
  if (fault === "timeout") return "silent";
  if (fault === "not_found") return "nameless";
  return socket.readableEnded || socket.destroyed ? "gone" : "malformed";
}

/** Lets out what was written last, if the stranger reads it in time. */
function sendAway(socket: Socket): void {
  socket.setTimeout(FAREWELL_MS, () => socket.destroy());
  socket.destroySoon();
}
