import type { Socket } from "node:net";
import { Deadline } from "../../core/deadline.ts";
import { type Listener, type ListenOptions, listen } from "../../net/listen.ts";
import { Holdings, sourceOf } from "../../net/source.ts";
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
  admit: (hello: Hello, leg: Leg) => void,
): Promise<Listener> {
  const strangers = new Set<Socket>();
  const perSource = new Holdings(settings.strangers_per_source_max);

  const listener = await listen(settings, (socket) => {
    socket.on("error", () => {}); // an error is followed by a close, which is what counts
    const source = sourceOf(socket.remoteAddress);
    if (
      strangers.size >= settings.strangers_max ||
      !perSource.take(source, settings.strangers_per_source_max)
    ) {
      socket.destroy();
      return;
    }
    strangers.add(socket);
    hearInTime(socket)
      .then((hello) => admit(hello, { door, socket, arrived_at: Date.now() }))
      .catch(() => sendAway(socket))
      .finally(() => {
        strangers.delete(socket);
        perSource.release(source);
      });
  });

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

/** Lets out what was written last, if the stranger reads it in time. */
function sendAway(socket: Socket): void {
  socket.setTimeout(FAREWELL_MS, () => socket.destroy());
  socket.destroySoon();
}
