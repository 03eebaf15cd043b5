import type { Socket } from "node:net";
import { Deadline } from "../../core/deadline.ts";
import { type Announcement, decodeHello, encodeAnnouncement } from "../../wire/relayserver.ts";
import { readMessage } from "../read-message.ts";
import { ownerOf, type Terms } from "./agents.ts";

/** Announcements that nobody reads, in bytes, until whoever does not read them is cut off. */
const UNREAD_MAX = 65_536;

/** Somebody who hears what becomes of its connections. */
export class Ear {
  readonly #socket: Socket;

  constructor(socket: Socket) {
    this.#socket = socket;
  }

  announce(announcement: Announcement): void {
    const socket = this.#socket;
    if (socket.destroyed) return;
    socket.write(encodeAnnouncement(announcement));
    if (socket.writableLength > UNREAD_MAX) socket.destroy();
  }
}

type Listening = {
  readonly terms: Terms;
  readonly hello_timeout_ms: number;
  listen(owner: string, ear: Ear): () => void;
};

/**
 * Lets a command channel hear until it is closed. An original says nothing on it, so it hears from the
 * start what becomes of connections from its address, if its pool lets such in; an agent of ours says
 * whose it is. Rejects if nobody may hear this; then the socket is still the caller's to close.
 */
export async function hearAlong(
  socket: Socket,
  { terms, hello_timeout_ms, listen }: Listening,
  signal: AbortSignal,
): Promise<void> {
  const ear = new Ear(socket);
  let leave = (): void => {};
  const hearAs = (owner: string): void => {
    const before = leave;
    leave = listen(owner, ear);
    before();
  };
  socket.on("close", () => leave());
  const open = terms.tokens.length === 0;
  if (open) hearAs(ownerOf(socket, {}, terms));
  try {
    using deadline = open ? undefined : new Deadline(hello_timeout_ms, "a hello", signal);
    const message = await readMessage(socket, deadline?.signal ?? signal);
    if (!socket.destroyed) hearAs(ownerOf(socket, decodeHello(message), terms));
  } catch (reason) {
    if (!open || socket.readableEnded || socket.destroyed) throw reason;
  }
  socket.on("end", () => socket.destroy()).resume(); // what it says now means nothing
}
