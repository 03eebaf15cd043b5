import { constants, type ServerHttp2Session } from "node:http2";

/** Pings and settings that a client may send in one second: far more than those of gRPC ever do. */
const NUDGES = { max: 2_000, window_ms: 1_000 };
/** Calls that it may take back. The library sends a GOAWAY at about as many, and then goes on reading. */
const RESETS = { max: 1_000, window_ms: 30_000 };

/**
 * Ends a connection whose client keeps the server busy with what carries no call (RFC 9113 10.5):
 * pings, settings, and streams that it resets. What is malformed, too long or too large ends with the
 * library's own limits; these are well formed, cheap to send, and each has to be answered.
 */
export function refuseFloods(session: ServerHttp2Session): void {
  const calm = (): void => session.destroy(undefined, constants.NGHTTP2_ENHANCE_YOUR_CALM);
  const nudged = counter(NUDGES, calm);
  const reset = counter(RESETS, calm);
  session.on("ping", nudged);
  session.on("remoteSettings", nudged);
  session.on("stream", (stream) => {
    stream.once("close", () => stream.rstCode !== constants.NGHTTP2_NO_ERROR && reset());
  });
}

/** Counts, and calls `exceeded` when there were too many within one window. */
function counter({ max, window_ms }: typeof NUDGES, exceeded: () => void): () => void {
  let count = 0;
  let since = performance.now();
  return () => {
    const now = performance.now();
    if (now - since > window_ms) [count, since] = [0, now];
    count += 1;
    if (count === max) exceeded();
  };
}
