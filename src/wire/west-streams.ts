/**
 * The frames of west's tunnels, version 2: each is one binary message of a WebSocket. A byte says of which
 * kind it is, 32 bits (big endian, as all here) say which stream it belongs to, and the rest is its body.
 *
 *     0 data     bytes of the stream
 *     1 end      nothing more will be said; the other direction stays
 *     2 reset    it is over in both directions
 *     3 window   32 bits: so many bytes more may be sent; of all streams together where the number is 0
 *
 * The first frame with a number opens its stream. The side that dialled uses even numbers, the other odd
 * ones, and both use greater ones each time.
 */
import { Fault } from "../core/fault.ts";

const HEAD = 5;
const KINDS = ["data", "end", "reset", "window"] as const;

export type StreamFrame = { readonly stream: number } & (
  | { readonly kind: "data"; readonly bytes: Buffer }
  | { readonly kind: "end" }
  | { readonly kind: "reset" }
  | { readonly kind: "window"; readonly size: number }
);

/** Throws `malformed` for what is no frame. `bytes` are the message's own. */
export function decodeFrame(message: Buffer): StreamFrame {
  const kind = KINDS[message[0] ?? KINDS.length];
  const size = message.length - HEAD;
  if (kind === undefined || size < 0) throw new Fault("malformed", "this is no frame");
  const stream = message.readUInt32BE(1);
  if (kind === "data" && stream > 0) return { kind, stream, bytes: message.subarray(HEAD) };
  if (kind === "window" && size === 4) return { kind, stream, size: message.readUInt32BE(HEAD) };
  if ((kind === "end" || kind === "reset") && stream > 0 && size === 0) return { kind, stream };
  throw new Fault("malformed", `a frame of the kind ${kind} is not like this`);
}

/** Its bytes are copied, from as many pieces as they are in. */
export function encodeData(stream: number, pieces: readonly Buffer[]): Buffer {
  return Buffer.concat([head("data", stream), ...pieces]);
}

export function encodeEnding(stream: number, kind: "end" | "reset"): Buffer {
  return head(kind, stream);
}

export function encodeWindow(stream: number, size: number): Buffer {
  const frame = head("window", stream, HEAD + 4);
  frame.writeUInt32BE(size, HEAD);
  return frame;
}

function head(kind: (typeof KINDS)[number], stream: number, size = HEAD): Buffer {
  const frame = Buffer.allocUnsafe(size);
  frame[0] = KINDS.indexOf(kind);
  frame.writeUInt32BE(stream, 1);
  return frame;
}
