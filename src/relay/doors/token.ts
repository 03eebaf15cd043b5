import type { Socket } from "node:net";
import { Deadline } from "../../core/deadline.ts";
import { type Listener, type ListenOptions, listen } from "../../net/listen.ts";
import { readExactly } from "../../net/read-exactly.ts";
import { Holdings, sourceOf } from "../../net/source.ts";
import type { Leg } from "../leg.ts";
import { TOKEN_SIZE } from "../rendezvous/pair.ts";

type TokenDoorSettings = ListenOptions & {
  hello_timeout_ms: number;
  /** How many may be inside without having shown a token yet, from one source and in all. */
  strangers_per_source_max: number;
  strangers_max: number;
};

/**
 * Lets in whoever starts with a token: 32 raw bytes in any segmentation, then anything.
 *
 * Until a stranger has shown a token it is the door's to time out and to close; then the leg is
 * `admit`'s, and no deadline of the door is left on it. Closing the door turns strangers away and
 * leaves admitted legs alone.
 */
export async function openTokenDoor(
  settings: TokenDoorSettings,
  admit: (token: Buffer, leg: Leg) => void,
): Promise<Listener> {
  const strangers = new Set<Socket>();
  const perSource = new Holdings(settings.strangers_per_source_max);

  const listener = await listen(settings, (socket) => {
    socket.on("error", () => {}); // an error is followed by a close, which is what counts
    const source = sourceOf(socket.remoteAddress);
    if (strangers.size >= settings.strangers_max || !perSource.take(source)) {
      socket.destroy();
      return;
    }
    strangers.add(socket);
    hear(socket)
      .then((token) => admit(token, { socket, arrived_at: Date.now() }))
      .catch(() => socket.destroy())
      .finally(() => {
        strangers.delete(socket);
        perSource.release(source);
      });
  });

  async function hear(socket: Socket): Promise<Buffer> {
    using deadline = new Deadline(settings.hello_timeout_ms, "a hello");
    return await readExactly(socket, TOKEN_SIZE, deadline.signal);
  }

  return {
    port: listener.port,
    async [Symbol.asyncDispose]() {
      await listener[Symbol.asyncDispose]();
      for (const stranger of strangers) stranger.destroy();
    },
  };
}
