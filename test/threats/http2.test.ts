import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { connect, type TLSSocket } from "node:tls";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { readTls } from "../../src/net/tls.ts";
import { type BothPorts, openBothPorts, type Papers } from "../support/both-ports.ts";
import { Authority } from "../support/certificates.ts";
import { MemoryDirectory, operator } from "../support/directory.ts";
import { until } from "../support/until.ts";

const SELF = "hd-1";
const TYPE = {
  data: 0,
  headers: 1,
  priority: 2,
  reset: 3,
  settings: 4,
  ping: 6,
  window: 8,
  more: 9,
};
const END_STREAM = 1;
const END_HEADERS = 4;

function frame(type: number, flags: number, stream: number, payload = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

const PREFACE = Buffer.concat([
  Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
  frame(TYPE.settings, 0, 0),
]);
/** POST https / by the static table, with an authority (RFC 7541, A). */
const POST = Buffer.concat([Buffer.from([0x83, 0x87, 0x84, 0x41, 0x01]), Buffer.from("x")]);
const CANCEL = Buffer.from([0, 0, 0, 8]);
/** A header of 4,000 bytes that goes into the table, and a byte that means it again. */
const LARGE = Buffer.concat([
  Buffer.from([0x40, 0x01, 0x61, 0x7f, 0xa1, 0x1e]),
  Buffer.alloc(4_000, 0x62),
]);
const AGAIN = Buffer.from([0xbe]);

/** Each says more and more; `n` counts from 0. All of it is well formed, one frame at a time. */
const FLOODS: Record<string, (n: number) => Buffer> = {
  "streams that are reset at once": (n) =>
    Buffer.concat([
      frame(TYPE.headers, END_HEADERS, 2 * n + 1, POST),
      frame(TYPE.reset, 0, 2 * n + 1, CANCEL),
    ]),
  "requests that are complete and reset at once": (n) =>
    Buffer.concat([
      frame(TYPE.headers, END_HEADERS + END_STREAM, 2 * n + 1, POST),
      frame(TYPE.reset, 0, 2 * n + 1, CANCEL),
    ]),
  "headers without end": (n) =>
    n === 0
      ? frame(TYPE.headers, 0, 1, POST)
      : frame(TYPE.more, 0, 1, Buffer.from([0x00, 0x01, 0x61, 0x01, 0x62])),
  "headers without end or content": (n) =>
    n === 0 ? frame(TYPE.headers, 0, 1, POST) : frame(TYPE.more, 0, 1),
  pings: () => frame(TYPE.ping, 0, 0, Buffer.alloc(8)),
  settings: () => frame(TYPE.settings, 0, 0, Buffer.from([0, 4, 0, 0, 0xff, 0xff])),
  "settings that say nothing": () => frame(TYPE.settings, 0, 0),
  "a header that means itself a thousand times": (n) =>
    n === 0
      ? frame(TYPE.headers, 0, 1, Buffer.concat([POST, LARGE]))
      : frame(TYPE.more, 0, 1, Buffer.alloc(1_000, AGAIN[0])),
  "windows that grow by nothing": () => frame(TYPE.window, 0, 0, Buffer.alloc(4)),
  "streams without end, beyond those it may have": (n) =>
    frame(TYPE.headers, END_HEADERS, 2 * n + 1, POST),
};

describe("the two ports of an endpoint", () => {
  let authority: Authority;
  let papers: Papers;
  let both: BothPorts;
  const sockets: TLSSocket[] = [];
  beforeAll(async () => {
    authority = await Authority.open();
    const tls = await authority.issue(SELF);
    const { ca, cert, key } = await readTls(tls);
    papers = { ca: ca.join(""), cert: `${cert}`, key: `${key}`, servername: SELF };
    const { fingerprint256 } = new X509Certificate(`${cert}`);
    const fingerprint = fingerprint256.replaceAll(":", "").toLowerCase();
    const directory = new MemoryDirectory(
      operator(SELF, { certificates: [{ key_usage: "encryption", fingerprint }] }),
    );
    both = await openBothPorts(tls, { self: SELF, directory });
  });
  afterEach(() => {
    for (const socket of sockets.splice(0)) socket.destroy();
  });
  afterAll(async () => {
    await both[Symbol.asyncDispose]();
    await authority[Symbol.asyncDispose]();
  });

  async function attack(port: number): Promise<TLSSocket> {
    const socket = connect({ port, host: "127.0.0.1", ...papers, ALPNProtocols: ["h2"] });
    sockets.push(socket);
    socket.on("error", () => {}).resume();
    await once(socket, "secureConnect");
    socket.write(PREFACE);
    return socket;
  }

  /** Writes as fast as it is taken, until the other side hangs up. */
  function pour(socket: TLSSocket, next: (n: number) => Buffer): void {
    let n = 0;
    const more = (): void => {
      while (!socket.destroyed && socket.writable) {
        const batch = Array.from({ length: 100 }, () => next(n++));
        if (!socket.write(Buffer.concat(batch))) return;
      }
    };
    socket.on("drain", () => setImmediate(more));
    more();
  }

  describe.each(["grpc", "jsonrpc"] as const)("%s", (which) => {
    it.each(Object.entries(FLOODS))("hangs up on %s, and serves others (T25)", async (_, next) => {
      const socket = await attack(both.ports[which]);
      pour(socket, next);
      await until(() => socket.closed, "the flood is cut off");
      expect(await both.tryBoth(papers)).toEqual({ grpc: SELF, jsonrpc: SELF });
    });

    it("serves others while a client takes none of its answers (T25)", async () => {
      const socket = await attack(both.ports[which]);
      socket.write(frame(TYPE.settings, 0, 0, Buffer.from([0, 4, 0, 0, 0, 0])));
      for (let n = 0; n < 500; n += 1) {
        socket.write(frame(TYPE.headers, END_HEADERS + END_STREAM, 2 * n + 1, POST));
      }
      expect(await both.tryBoth(papers)).toEqual({ grpc: SELF, jsonrpc: SELF });
    });
  });
});
