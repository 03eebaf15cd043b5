import type { Socket } from "node:net";
import { unmapped } from "../../net/source.ts";
import { formatEndpoint } from "../../wire/endpoint.ts";

/** What a connection may say before anybody is there to hear it. */
const UNHEARD_MAX = 65_536;
const FAREWELL_MS = 1_000;

/** A connection that waits. `take` ends the watch over it and brings it back, with all it has said in it. */
export type Waiting = {
  readonly socket: Socket;
  readonly arrived_at: number;
  /** `host:port` that it came from. */
  readonly peer: string;
  take(): Socket;
};

/** Watches over a connection that is offered: it is `lost` by an end, or when it says more than a little. */
export function offered(socket: Socket, lost: () => void): Waiting {
  const said: Buffer[] = [];
  let size = 0;
  const hear = (chunk: Buffer): void => {
    said.push(chunk);
    size += chunk.length;
    if (size > UNHEARD_MAX) lost();
  };
  socket.on("data", hear).on("end", lost).on("close", lost).resume();
  return {
    ...waiting(socket),
    take() {
      socket.pause().off("data", hear).off("end", lost).off("close", lost);
      if (size > 0 && !socket.destroyed) socket.unshift(Buffer.concat(said.splice(0)));
      return socket;
    },
  };
}

/**
 * Watches over a client, who is `lost` once its connection is gone: one that has said all may still
 * listen, unless `whole` says that an end is the end of both directions.
 */
export function asking(socket: Socket, lost: () => void, { whole = false } = {}): Waiting {
  socket.on("close", lost);
  if (whole) socket.on("end", lost);
  socket.read(0);
  return { ...waiting(socket), take: () => socket.off("close", lost).off("end", lost) };
}

/** Closes a connection by an end, not by a reset, although it may have said something that nobody read. */
export function farewell(socket: Socket): void {
  const timer = setTimeout(() => socket.destroy(), FAREWELL_MS);
  socket.on("end", () => socket.destroySoon()).on("close", () => clearTimeout(timer));
  socket.resume().end();
}

function waiting(socket: Socket): Omit<Waiting, "take"> {
  const { remoteAddress = "", remotePort = 0 } = socket;
  const peer = formatEndpoint({ host: unmapped(remoteAddress), port: remotePort });
  return { socket, arrived_at: performance.now(), peer };
}
