import type { Socket } from "node:net";
import type { Line } from "../leg.ts";

const FAREWELL_MS = 1_000;

/** A connection that is a socket of Node's. */
export class SocketLine implements Line {
  readonly #socket: Socket;
  #given = false;

  constructor(socket: Socket) {
    this.#socket = socket;
  }

  /** The socket, for whoever owns it from here on. */
  give(): Socket {
    this.#given = true;
    return this.#socket;
  }

  hangUp(last?: Buffer): void {
    if (this.#given) return;
    const socket = this.give();
    if (!last) return void socket.destroy();
    socket.write(last);
    // It goes out if the other side reads it in time.
    socket.setTimeout(FAREWELL_MS, () => socket.destroy());
    socket.destroySoon();
  }
}
