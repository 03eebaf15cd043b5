import type { Server, Socket } from "node:net";
import { Fault } from "../../core/fault.ts";
import {
  F_DUPFD_CLOEXEC,
  IPPROTO_TCP,
  type Linux,
  SO_KEEPALIVE,
  SO_OOBINLINE,
  SOL_SOCKET,
  TCP_KEEPCNT,
  TCP_KEEPIDLE,
  TCP_KEEPINTVL,
  TCP_NODELAY,
} from "./linux.ts";

/*
 * How descriptors are had from Node. Its handles are internal to it: `isPossible` finds out at the start
 * whether they are what they were, and the contract tests of the engine do for every Node major.
 */

type Handle = { fd?: number; readStop?(): void; close(): void };

type Option = readonly [level: number, option: number, value: number];

/** Urgent bytes stay where they are among the others, and stop no reader. */
const INLINE: Option = [SOL_SOCKET, SO_OOBINLINE, 1];

/** After 30 s of silence the kernel asks whether anybody is still there: six times, every 5 s. */
const OPTIONS: readonly Option[] = [
  INLINE,
  [IPPROTO_TCP, TCP_NODELAY, 1],
  [SOL_SOCKET, SO_KEEPALIVE, 1],
  [IPPROTO_TCP, TCP_KEEPIDLE, 30],
  [IPPROTO_TCP, TCP_KEEPINTVL, 5],
  [IPPROTO_TCP, TCP_KEEPCNT, 6],
];

/** Takes what a server listens on, and closes the server. What is accepted there inherits the options. */
export function takeListener(linux: Linux, server: Server): number {
  try {
    const descriptor = duplicate(linux, handleOf(server));
    for (const option of OPTIONS) set(linux, descriptor, option);
    return descriptor;
  } finally {
    server.close();
  }
}

/** Takes the connection of a socket that has sent all it had to, with what it has read and nobody has taken. */
export function takeConnection(
  linux: Linux,
  socket: Socket,
): { descriptor: number; unread: Buffer } {
  const handle = socket.destroyed ? undefined : handleOf(socket);
  if (!handle) throw new Fault("unreachable", "the connection is gone");
  socket.pause();
  handle.readStop?.();
  const unread: Buffer[] = [];
  for (let more = socket.read(); more; more = socket.read()) unread.push(more);
  const descriptor = duplicate(linux, handle);
  set(linux, descriptor, INLINE);
  // The connection stays, because it has a second descriptor now, and so nobody is told of an end.
  handle.close();
  Object.assign(socket, { _handle: null });
  socket.destroy();
  return { descriptor, unread: Buffer.concat(unread) };
}

/** Does this Node let go of descriptors? */
export function isPossible(server: Server): boolean {
  return typeof handleOf(server)?.fd === "number";
}

function handleOf(owner: Server | Socket): Handle | undefined {
  return (owner as unknown as { _handle?: Handle })._handle;
}

function set(linux: Linux, descriptor: number, [level, option, value]: Option): void {
  const memory = new Int32Array([value]);
  linux.setsockoptOf(descriptor, level, option, memory, 4);
}

function duplicate(linux: Linux, handle: Handle | undefined): number {
  const descriptor = linux.fcntl(handle?.fd ?? -1, F_DUPFD_CLOEXEC, 3);
  if (descriptor < 0) throw new Fault("overloaded", "no descriptors are left for this process");
  return descriptor;
}
