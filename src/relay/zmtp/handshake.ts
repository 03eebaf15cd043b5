import type { Socket } from "node:net";
import { Fault } from "../../core/fault.ts";
import { readHello } from "../../net/read-hello.ts";
import { GREETING_SIZE, HandshakeWatch, readCurveWelcome } from "../../wire/zmtp.ts";

/**
 * Says a client's greeting and HELLO to a worker, and brings back what it answers behind its own
 * greeting: WELCOME. Until then the client has heard nothing, so another worker may be asked as well.
 */
export async function askWorker(
  worker: Socket,
  opening: Buffer,
  signal: AbortSignal,
): Promise<Buffer> {
  worker.write(opening);
  let bytes = Buffer.alloc(0);
  const take = (): true | undefined => {
    for (let more = worker.read(); more; more = worker.read()) bytes = Buffer.concat([bytes, more]);
    return readCurveWelcome(bytes);
  };
  await readHello(worker, take, signal);
  return bytes.subarray(GREETING_SIZE);
}

/**
 * Passes on what client and worker say until the worker says READY. Both are quiet then, paused, and
 * whatever came behind READY has been passed on. Throws `failed` if one of them gives up before.
 */
export async function finishHandshake(
  { client, worker }: Record<"client" | "worker", Socket>,
  welcome: Buffer,
  signal: AbortSignal,
): Promise<void> {
  const watch = new HandshakeWatch();
  watch.see(welcome);
  client.write(welcome);
  await new Promise<void>((resolve, reject) => {
    const look = (chunk: Buffer): void => {
      const state = watch.see(chunk);
      if (state === "ready") settle(resolve);
      if (state === "failed") fail("the worker refused the client");
    };
    const fail = (why: string): void => settle(() => reject(new Fault("failed", why)));
    const clientLeft = (): void => fail("the client left during its handshake");
    const workerLeft = (): void => fail("the worker left during the handshake");
    const abort = (): void => settle(() => reject(signal.reason));
    const settle = (how: () => void): void => {
      client.off("end", clientLeft).off("close", clientLeft).unpipe(worker).pause();
      worker.off("data", look).off("end", workerLeft).off("close", workerLeft).unpipe(client);
      worker.pause();
      signal.removeEventListener("abort", abort);
      how();
    };
    client.on("end", clientLeft).on("close", clientLeft).pipe(worker, { end: false });
    worker.on("end", workerLeft).on("close", workerLeft).pipe(client, { end: false });
    worker.on("data", look); // behind the pipe, so that READY is on its way before the pipe is gone
    signal.addEventListener("abort", abort);
    if (signal.aborted) abort();
    else if (client.readableEnded || client.destroyed) clientLeft();
    else if (worker.readableEnded || worker.destroyed) workerLeft();
  });
}
