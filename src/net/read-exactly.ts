import { once } from "node:events";
import type { Duplex } from "node:stream";
import { Fault } from "../core/fault.ts";

/** The first `size` bytes of a stream, however they are segmented. What follows stays in the stream. */
export async function readExactly(
  stream: Duplex,
  size: number,
  signal: AbortSignal,
): Promise<Buffer> {
  for (;;) {
    const bytes = stream.read(size) as Buffer | null;
    if (bytes?.length === size) return bytes;
    // At the end of a stream `read` hands out whatever is left, even if it is too little.
    if (bytes || stream.readableEnded || stream.destroyed) {
      throw new Fault("malformed", "the stream ended inside its hello");
    }
    await someEvent(stream, signal);
  }
}

async function someEvent(stream: Duplex, parent: AbortSignal): Promise<void> {
  const heard = new AbortController();
  const stop = (): void => heard.abort(parent.reason);
  parent.addEventListener("abort", stop, { once: true });
  if (parent.aborted) stop();
  const { signal } = heard;
  try {
    await Promise.race(
      ["readable", "end", "close"].map((event) => once(stream, event, { signal })),
    );
  } finally {
    parent.removeEventListener("abort", stop);
    heard.abort();
  }
}
