import type { Socket } from "node:net";
import type { Ending, Outcome, Side } from "../leg.ts";
import type { Splice } from "../splice.ts";

/**
 * The portable splice: Node's own sockets, one buffer a direction.
 *
 * - A side that ends is only half closed: its partner may still be talking, as `nc` and HTTP/1.0
 *   do, so the end is passed on and the other direction stays open.
 * - A side that breaks resets its partner, because to a peer a plain close is a clean end, and a
 *   download that was cut would look complete.
 * - A slow reader pauses its own writer, through the kernel's buffers back to whoever sends.
 */
export function spliceStreams(sockets: Record<Side, Socket>, bytes_max = Infinity): Splice {
  const bytes = { caller: 0, callee: 0 };
  let first: Pick<Outcome, "ending" | "by"> | undefined;
  let moved_at = performance.now();
  const ended: Side[] = [];

  const stop = (ending: Ending, by: Outcome["by"]): void => {
    if (first) return;
    first = { ending, by };
    for (const socket of Object.values(sockets)) reset(socket);
  };

  const flow = (from: Side, to: Side): Promise<void> => {
    const source = sockets[from];
    const target = sockets[to];
    source.on("data", (chunk: Buffer) => {
      bytes[from] += chunk.length;
      moved_at = performance.now();
      if (bytes.caller + bytes.callee > bytes_max) stop("limit", "us");
      else if (!target.write(chunk)) source.pause();
    });
    target.on("drain", () => source.resume());
    const end = (): void => {
      if (ended.includes(from)) return;
      ended.push(from);
      target.end();
    };
    source.on("end", () => confirmEnd(source, end));
    source.on("error", () => {
      if (ended.length < 2) stop("broken", from);
    });
    return new Promise((resolve) => {
      source.on("close", () => {
        if (source.readableEnded && !source.errored) end();
        if (ended.length < 2) stop("broken", from);
        resolve();
      });
      if (source.destroyed)
        source.emit("close"); // it broke between its hello and the meeting
      else if (source.readableEnded)
        confirmEnd(source, end); // nothing came behind its hello but the end
      else source.resume();
    });
  };

  const over = Promise.all([flow("caller", "callee"), flow("callee", "caller")]).then(
    (): Outcome => {
      const done = { ending: "done", by: ended[0] ?? "us" } as const;
      return { ...(first ?? done), bytes };
    },
  );

  return {
    over,
    bytes,
    get moved_at() {
      return moved_at;
    },
    cut: (ending) => stop(ending, "us"),
  };
}

/**
 * Calls back once an end is certain; a socket that broke is destroyed instead. Where a reset arrives
 * behind bytes that are still unread, libuv reports an end (`uv__stream_io`, POLLHUP after a partial
 * read), so the system is asked once more: behind an end there is an end, behind a reset the error.
 * A socket that has finished writing cannot be asked any more, because Node closes it with its end.
 */
function confirmEnd(socket: Socket, end: () => void): void {
  const { _handle: handle } = socket as unknown as { _handle?: { readStart?(): number } };
  handle?.readStart?.();
  // The answer comes with the next poll for events, which is over at the second of two immediates.
  setImmediate(() => setImmediate(() => socket.errored || end()));
}

/** Node cannot reset a socket while the end it has to send is on its way, so then it waits for that. */
function reset(socket: Socket): void {
  const ending = socket.writableEnded && !socket.writableFinished && socket.writableLength === 0;
  if (ending && !socket.destroyed) socket.once("finish", () => socket.resetAndDestroy());
  else socket.resetAndDestroy();
}
