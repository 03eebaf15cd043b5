import type { Socket } from "node:net";
import type { Line } from "../leg.ts";

const FAREWELL_MS = 1_000;

/** A connection that is a socket of Node's. */
export class SocketLine implements Line {
  readonly socket: Socket;

  constructor(socket: Socket) {
    this.socket = socket;
  }

  hangUp(last?: Buffer): void {
    const { socket } = this;
    if (!last) return void socket.destroy();
    socket.write(last);
    // It goes out if the other side reads it in time.
    socket.setTimeout(FAREWELL_MS, () => socket.destroy());
    socket.destroySoon();
  }
}
