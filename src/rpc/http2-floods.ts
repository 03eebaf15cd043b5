import { constants, type ServerHttp2Session } from "node:http2";
import { atTooMany } from "../net/floods.ts";

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
  const nudged = atTooMany(NUDGES, calm);
  const reset = atTooMany(RESETS, calm);
  session.on("ping", nudged);
  session.on("remoteSettings", nudged);
  session.on("stream", (stream) => {
    stream.once("close", () => stream.rstCode !== constants.NGHTTP2_NO_ERROR && reset());
  });
}
