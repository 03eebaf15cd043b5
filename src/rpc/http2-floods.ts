import { constants, type ServerHttp2Session } from "node:http2";

/** What a connection may ask for in vain within a window: far more than any client of ours or the original's. */
const GESTURES_MAX = 2_000;
const WINDOW_MS = 1_000;

/**
 * Ends a connection whose client keeps the server busy with what carries no call (RFC 9113 10.5):
 * pings, settings, and streams that it resets. What is malformed, too long or too large ends with the
 * library's own limits; these are well formed, cheap to send, and each has to be answered.
 */
export function refuseFloods(session: ServerHttp2Session): void {
  let gestures = 0;
  let since = performance.now();
  const count = (): void => {
    const now = performance.now();
    if (now - since > WINDOW_MS) [gestures, since] = [0, now];
    gestures += 1;
    if (gestures !== GESTURES_MAX) return;
    session.destroy(undefined, constants.NGHTTP2_ENHANCE_YOUR_CALM);
  };
  session.on("ping", count);
  session.on("remoteSettings", count);
  session.on("stream", (stream) => stream.once("aborted", count));
}
