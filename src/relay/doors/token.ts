import { TOKEN_SIZE } from "../rendezvous/pair.ts";
import type { Greeting } from "./greeting.ts";

/** Lets in whoever starts with a token: 32 raw bytes in any segmentation, then anything (eps-protocol 6.4). */
export const TOKEN: Greeting = {
  size_max: TOKEN_SIZE,
  read: (bytes) =>
    bytes.length < TOKEN_SIZE
      ? undefined
      : { hello: bytes.toString("latin1", 0, TOKEN_SIZE), used: TOKEN_SIZE },
  farewell: () => undefined,
};

/** The token in a hello. */
export function tokenOf(hello: string): Buffer {
  return Buffer.from(hello, "latin1");
}
