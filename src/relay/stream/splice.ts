import { Socket, type SocketConstructorOpts } from "node:net";
import { reset } from "../../net/reset.ts";
import type { Ending, Outcome, Side } from "../leg.ts";
import type { Splice } from "../splice.ts";

const BUFFER_SIZE = 65_536;
/** Who sends so much at once will go on. Others need no buffer of their own. */
const MUCH = BUFFER_SIZE / 2;

/** Where a socket of Node's keeps its `onread`. */
const ONREAD = ["kBuffer", "kBufferCb"].map((name) => {
  const callback = (): boolean => true;
  const socket = new Socket({
    onread: { buffer: Buffer.alloc(1), callback },
  } as SocketConstructorOpts);
  return Object.getOwnPropertySymbols(socket).find(({ description }) => description === name);
});

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
    const counts = (size: number): boolean => {
      bytes[from] += size;
      moved_at = performance.now();
      if (bytes.caller + bytes.callee <= bytes_max) return true;
      stop("limit", "us");
      return false;
    };
    source.on("data", (chunk: Buffer) => {
      if (!counts(chunk.length)) return;
      if (!target.write(chunk)) source.pause();
      if (chunk.length >= MUCH) {
        readInto(source, (more) => {
          if (!counts(more.length)) return false;
          target.write(more, () => source.resume());
          return target.writableLength === 0; // what is written by now leaves the buffer free
        });
      }
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
 * From now on reads into one buffer, which `take` brings on and of which it says whether it is free
 * again; if not, reading goes on with `resume`. Otherwise every read would take 64 KiB of fresh memory,
 * which costs more than to move the bytes. It is what the option `onread` does for a socket from its
 * start; a Node that does it otherwise goes on reading as before.
 */
function readInto(socket: Socket, take: (bytes: Buffer) => boolean): void {
  const { _handle: handle } = socket as unknown as {
    _handle?: { useUserBuffer?(b: Buffer): void };
  };
  const [buffer, callback] = ONREAD;
  if (!handle?.useUserBuffer || !buffer || !callback || Reflect.get(socket, buffer)) return;
  const memory = Buffer.allocUnsafeSlow(BUFFER_SIZE);
  handle.useUserBuffer(memory);
  Object.assign(socket, {
    [buffer]: memory,
    [callback]: (size: number) => take(memory.subarray(0, size)),
  });
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
