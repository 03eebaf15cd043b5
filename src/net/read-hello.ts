import type { Duplex } from "node:stream";
import { Fault } from "../core/fault.ts";

/**
 * Reads the first bytes of a stream, however they are segmented. `take` is called whenever there may
 * be more: it reads what it wants, throws if that is no hello, and brings back undefined as long as
 * bytes are missing. What it does not read stays in the stream.
 *
 * One listener waits for all of them: a stream that holds bytes already tells each new listener at
 * once that it is readable, so that waiting anew after every look would never let the loop go on.
 */
export async function readHello<Hello>(
  stream: Duplex,
  take: () => Hello | undefined,
  signal: AbortSignal,
): Promise<Hello> {
  signal.throwIfAborted();
  return await new Promise((resolve, reject) => {
    const look = (): void => {
      try {
        const hello = take();
        if (hello !== undefined) settle(() => resolve(hello));
        else if (stream.readableEnded || stream.destroyed) throw endedInside();
      } catch (reason) {
        settle(() => reject(reason));
      }
    };
    const abort = (): void => settle(() => reject(signal.reason));
    const settle = (how: () => void): void => {
      stream.off("readable", look).off("end", look).off("close", look);
      signal.removeEventListener("abort", abort);
      how();
    };
    stream.on("readable", look).on("end", look).on("close", look);
    signal.addEventListener("abort", abort);
    look();
  });
}

/** The first `size` bytes of a stream. */
export async function readExactly(
  stream: Duplex,
  size: number,
  signal: AbortSignal,
): Promise<Buffer> {
  const take = (): Buffer | undefined => {
    const bytes = stream.read(size) as Buffer | null;
    // At the end of a stream `read` hands out whatever is left, even if it is too little.
    if (bytes && bytes.length < size) throw endedInside();
    return bytes ?? undefined;
  };
  return await readHello(stream, take, signal);
}

function endedInside(): Fault {
  return new Fault("malformed", "the stream ended inside its hello");
}
