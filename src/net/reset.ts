import type { Socket } from "node:net";

/**
 * Closes a connection so that the other side sees it as broken. While the end that a socket has to
 * send is on its way Node cannot reset it: the call fails with EINVAL, and `close` is never told. So
 * then it waits for that.
 */
export function reset(socket: Socket): void {
  const ending = socket.writableEnded && !socket.writableFinished && socket.writableLength === 0;
  if (ending && !socket.destroyed) socket.once("finish", () => socket.resetAndDestroy());
  else socket.resetAndDestroy();
}
