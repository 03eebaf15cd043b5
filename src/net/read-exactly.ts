import type { Duplex } from "node:stream";
import { Fault } from "../core/fault.ts";

/**
 * The first `size` bytes of a stream, however they are segmented. What follows stays in the stream.
 *
 * One listener waits for all of them: a stream that holds bytes already tells each new listener at
 * once that it is readable, so that waiting anew after every look would never let the loop go on.
 */
export async function readExactly(
  stream: Duplex,
  size: number,
  signal: AbortSignal,
): Promise<Buffer> {
  signal.throwIfAborted();
  return await new Promise((resolve, reject) => {
    const look = (): void => {
      const bytes = stream.read(size) as Buffer | null;
      if (bytes?.length === size) {
        release();
        resolve(bytes);
      } else if (bytes || stream.readableEnded || stream.destroyed) {
        // At the end of a stream `read` hands out whatever is left, even if it is too little.
        release();
        reject(new Fault("malformed", "the stream ended inside its hello"));
      }
    };
    const abort = (): void => {
      release();
      reject(signal.reason);
    };
    const release = (): void => {
      stream.off("readable", look).off("end", look).off("close", look);
      signal.removeEventListener("abort", abort);
    };
    stream.on("readable", look).on("end", look).on("close", look);
    signal.addEventListener("abort", abort);
    look();
  });
}
