import type { Socket } from "node:net";
import { readHello } from "../net/read-hello.ts";
import { RelayMessages } from "../wire/relayserver.ts";

/** The first message of RelayServer that a socket says. What came behind it stays in the socket. */
export async function readMessage(socket: Socket, signal: AbortSignal): Promise<Buffer> {
  const messages = new RelayMessages();
  const take = (): Buffer | undefined => {
    const chunk = socket.read() as Buffer | null;
    if (chunk) messages.add(chunk);
    const message = messages.take();
    if (!message) return undefined;
    const rest = messages.rest();
    if (rest.length > 0) socket.unshift(rest); // at once, or an end behind it would be told first
    return message;
  };
  return await readHello(socket, take, signal);
}
