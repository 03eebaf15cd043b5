import type { Router } from "zeromq";
import { ZAP_DOMAIN, type ZeroMQ } from "./zeromq.ts";

/** Where libzmq asks who may shake hands (RFC 27); there is one such place in a process. */
const ZAP_ADDRESS = "inproc://zeromq.zap.01";
const VERSION = "1.0";
const ALLOWED = "200";
const DENIED = "400";

/** Lets in those whose public key is in a list, and nobody else. */
export class AllowList implements AsyncDisposable {
  readonly #socket: Router;
  readonly #keys: ReadonlySet<string>;
  #over: Promise<void> = Promise.resolve();

  private constructor(zmq: ZeroMQ, keys: readonly string[]) {
    this.#socket = new zmq.Router({ linger: 0 });
    this.#keys = new Set(keys.map((key) => decodeZ85(key).toString("hex")));
  }

  /** `keys` are in Z85. */
  static async open(zmq: ZeroMQ, keys: readonly string[]): Promise<AllowList> {
    const list = new AllowList(zmq, keys);
    await list.#socket.bind(ZAP_ADDRESS);
    list.#over = list.#answer();
    return list;
  }

  async #answer(): Promise<void> {
    for await (const [from = "", , , request = "", domain, , , mechanism, key] of this.#socket) {
      const allowed =
        String(domain) === ZAP_DOMAIN &&
        String(mechanism) === "CURVE" &&
        this.#keys.has(key?.toString("hex") ?? "");
      const [code, text] = allowed ? [ALLOWED, "OK"] : [DENIED, "this key is not let in"];
      await this.#socket.send([from, "", VERSION, request, code, text, "", ""]);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#socket.close();
    await this.#over.catch(() => {});
  }
}

const DIGITS =
  "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";

/** The bytes of a text in Z85 (RFC 32), which settings have checked to be one. */
function decodeZ85(text: string): Buffer {
  const bytes = Buffer.alloc((text.length / 5) * 4);
  for (let at = 0; at < text.length; at += 5) {
    const block = [...text.slice(at, at + 5)];
    const value = block.reduce((sum, digit) => sum * DIGITS.length + DIGITS.indexOf(digit), 0);
    bytes.writeUInt32BE(value, (at / 5) * 4);
  }
  return bytes;
}
