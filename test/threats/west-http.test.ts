import { once } from "node:events";
import { createServer as createHttp, type RequestListener } from "node:http";
import { type AddressInfo, connect, createServer } from "node:net";
import { buffer } from "node:stream/consumers";
import { request as undici } from "undici";
import { describe, expect, it } from "vitest";
import { ask, Origin, WestBed } from "../support/west-bed.ts";

/*
 * What strangers may send instead of HTTP. Each case goes to a listener and its tunnel, and beside it
 * to node:http (requests) or is asked for with undici (answers): what these refuse must not come
 * through, and what comes through must mean the same to both.
 */

const AT_ONCE = 96;
/** How long a listener waits for the rest of a request: as long as its process may be kept from reading it. */
const PATIENCE_S = 3;

/** What each of these becomes, so many at the same time. */
async function inTurns<In, Out>(all: readonly In[], one: (each: In, n: number) => Promise<Out>) {
  const results: Out[] = [];
  for (let from = 0; from < all.length; from += AT_ONCE) {
    const some = all.slice(from, from + AT_ONCE);
    results.push(...(await Promise.all(some.map((each, i) => one(each, from + i)))));
  }
  return results;
}

const TAIL = (n: number) => `GET /pa?${n}-smuggled HTTP/1.1\r\nHost: x\r\n\r\n`;
const CHUNKED = "5\r\nhello\r\n0\r\n\r\n";

const LENGTHS = [
  [],
  ["5"],
  ["+5"],
  ["-5"],
  ["5,5"],
  ["5, 6"],
  ["0x5"],
  ["5 5"],
  ["05"],
  [""],
  ["5", "5"],
  ["5", "6"],
  ["0"],
];
const CODINGS = [
  [],
  ["chunked"],
  ["Chunked"],
  ["chunked, chunked"],
  ["gzip, chunked"],
  ["chunked, gzip"],
  ["identity"],
  ["xchunked"],
  ["chunked;q=1"],
  ["\tchunked"],
  ["chunked\x0b"],
  ["\x00chunked"],
  ['"chunked"'],
  ["chunked", "identity"],
  [""],
];
const LINES = [
  "GET  /pa?# HTTP/1.1",
  "GET /pa?#  HTTP/1.1",
  "GET /pa?# HTTP/0.9",
  "GET /pa?#",
  "GET /pa?# HTTP/1.2",
  "GET /pa?# HTTP/2.0",
  "GET /pa?# HTTP/1.1 ",
  "GET /pa?# http/1.1",
  "GET /pa?#\x00 HTTP/1.1",
  "GET /pa?#\x7f HTTP/1.1",
  "GET /pa?#\tx HTTP/1.1",
  "G@T /pa?# HTTP/1.1",
  "get /pa?# HTTP/1.1",
  "GET http://x/pa?# HTTP/1.1",
  "GET http://x@y/pa?# HTTP/1.1",
  "GET ftp://x/pa?# HTTP/1.1",
  "GET pa?# HTTP/1.1",
  "GET * HTTP/1.1",
  "OPTIONS * HTTP/1.1",
  "CONNECT x:80 HTTP/1.1",
  "TRACE /pa?# HTTP/1.1",
  "PRI * HTTP/2.0",
  "\r\nGET /pa?# HTTP/1.1",
  " GET /pa?# HTTP/1.1",
  "GET /pa?# HTTP/1.1\r\nHost: x\r\n\r\nGET /pa?#-2 HTTP/1.1",
];
const FIELDS = [
  "X: a\r\n folded",
  "X: a\r\n\tfolded",
  "X : a",
  " X: a",
  ": a",
  "X",
  "X: a\x00b",
  "X: a\rb",
  "X: a\nY: b",
  "X\x00: a",
  "X(y): a",
  "Transfer-Encoding : chunked",
  "Transfer_Encoding: chunked",
  "Transfer-Encoding:\r\n chunked",
  "Content-Length : 5",
  "Content_Length: 5",
  "Content-Length: 5\r\n ,6",
  "Host: y",
  "Host : y",
  "Connection: content-length",
  "Connection: host",
  "Connection: transfer-encoding, close",
  "Connection: x-forwarded-for",
  "Connection: close, x-request-id",
  "Keep-Alive: timeout=9",
  "Proxy-Connection: keep-alive",
  "Proxy-Authorization: Basic eDp5",
  "TE: trailers",
  "Trailer: content-length",
  "Upgrade: h2c",
  "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk",
  "Connection: Upgrade\r\nUpgrade: websocket",
  "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 777\r\nSec-WebSocket-Key: x",
  "Connection: Upgrade\r\nUpgrade: x\r\nContent-Length: 5",
  "Expect: 200-maybe",
  "X-Forwarded-For: 6.6.6.6",
  "X_Forwarded_For: 6.6.6.6",
  "Forwarded: for=6.6.6.6",
  `X: ${"a".repeat(20_000)}`,
];
const CHUNKS = [
  "5;ext\r\nhello\r\n0\r\n\r\n",
  '5;ext="\r\n"\r\nhello\r\n0\r\n\r\n',
  "5;ext\nhello\r\n0\r\n\r\n",
  "0x5\r\nhello\r\n0\r\n\r\n",
  "+5\r\nhello\r\n0\r\n\r\n",
  "-5\r\nhello\r\n0\r\n\r\n",
  "5 \r\nhello\r\n0\r\n\r\n",
  " 5\r\nhello\r\n0\r\n\r\n",
  "05\r\nhello\r\n0\r\n\r\n",
  "5\nhello\n0\n\n",
  "5\r\nhello0\r\n\r\n",
  "5\r\nhellox\r\n0\r\n\r\n",
  "5\r\nhello\r\n0\r\nX: y\r\n\r\n",
  "5\r\nhello\r\n0\r\nContent-Length: 9\r\n\r\n",
  "5\r\nhello\r\n0\r\n X: y\r\n\r\n",
  "5\r\nhello\r\n0\r\n",
  "ffffffffffffffff1\r\nhello\r\n0\r\n\r\n",
  "80000000000000000\r\nhello\r\n0\r\n\r\n",
  "\r\n5\r\nhello\r\n0\r\n\r\n",
  "5\r\rhello\r\n0\r\n\r\n",
];

const named = (name: string, values: readonly string[]) =>
  values.map((value) => `${name}: ${value}`);

const REQUESTS: string[] = [
  ...LENGTHS.flatMap((length) =>
    CODINGS.map((coding) => {
      const fields = [...named("Content-Length", length), ...named("Transfer-Encoding", coding)];
      const body = coding.length > 0 ? CHUNKED : length.length > 0 ? "hello" : "";
      return `${["POST /pa?# HTTP/1.1", "Host: x", ...fields].join("\r\n")}\r\n\r\n${body}`;
    }),
  ),
  ...LINES.map((line) => `${line}\r\nHost: x\r\n\r\n`),
  ...FIELDS.map(
    (field) => `POST /pa?# HTTP/1.1\r\nHost: x\r\n${field}\r\nContent-Length: 5\r\n\r\nhello`,
  ),
  ...FIELDS.map((field) => `GET /pa?# HTTP/1.1\r\n${field}\r\nHost: x\r\n\r\n`),
  ...CHUNKS.map(
    (body) => `POST /pa?# HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n${body}`,
  ),
  `POST /pa?# HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n${CHUNKED}`,
  "GET /pa?# HTTP/1.0\r\n\r\n",
  "GET /pa?# HTTP/1.1\r\n\r\n",
  "GET /pa?# HTTP/1.1\nHost: x\n\n",
];

type Seen = { method: string; query: string; body: string; raw: string[] };

/** Remembers what it is asked, by the number of the case. */
function witness(): { seen: Map<number, Seen[]>; serve: RequestListener } {
  const seen = new Map<number, Seen[]>();
  const serve: RequestListener = (request, response) => {
    const { method = "", url = "", rawHeaders: raw } = request;
    const query = url.replace(/^[^?]*\??/, "");
    const number = Number.parseInt(query, 10);
    void buffer(request).then(
      (body) => {
        const entry = { method, query, body: body.toString("latin1"), raw };
        seen.set(number, [...(seen.get(number) ?? []), entry]);
        response.end("seen");
      },
      () => {},
    );
  };
  return { seen, serve };
}

/** Says all of it and listens until the other side has closed. */
async function say(port: number, text: string): Promise<string> {
  const socket = connect(port, "127.0.0.1");
  socket.on("error", () => {});
  let heard = "";
  socket.on("data", (chunk) => {
    heard += chunk.toString("latin1");
  });
  socket.write(text, "latin1");
  await once(socket, "close");
  return heard;
}

describe("strict HTTP", () => {
  it(`lets nothing through that node:http refuses or reads otherwise, in ${REQUESTS.length} requests`, async () => {
    expect(REQUESTS.length).toBeGreaterThan(300);
    await using bed = await WestBed.open("case-2", ({ west }) => {
      west.limits = { client_timeout: PATIENCE_S, timeout: 10 };
    });
    const through = witness();
    const beside = witness();
    await using _origin = await Origin.open(through.serve, bed.port(9941));
    await bed.startAll();
    const plain = createHttp(
      {
        requestTimeout: 1_000 * PATIENCE_S,
        headersTimeout: 1_000 * PATIENCE_S,
        connectionsCheckingInterval: 100,
        keepAliveTimeout: 1_000 * PATIENCE_S,
      },
      beside.serve,
    ).listen(0, "127.0.0.1");
    await once(plain, "listening");
    const numbered = REQUESTS.map((each, n) => each.replaceAll("#", `${n}`) + TAIL(n));
    const port = (plain.address() as AddressInfo).port;
    const ours = await inTurns(numbered, async (each) => {
      const [heard] = await Promise.all([say(bed.port(9931), each), say(port, each)]);
      return heard;
    });
    plain.close();
    plain.closeAllConnections();
    let passed = 0;
    for (const [n, request] of numbered.entries()) {
      const told = JSON.stringify(request.slice(0, 200));
      const meant = (list: Seen[] = []) =>
        list.map(({ method, query, body }) => ({ method, query, body }));
      const here = meant(through.seen.get(n));
      const there = meant(beside.seen.get(n));
      passed += here.length > 0 ? 1 : 0;
      expect.soft(there, told).toEqual(expect.arrayContaining(here));
      const smuggled = (list: typeof here) =>
        list.filter(({ query }) => query.endsWith("smuggled"));
      if (here.length < there.length) expect.soft(ours[n], told).toMatch(/HTTP\/1\.1 [45]\d\d |^$/);
      expect.soft(smuggled(here).length, told).toBeLessThanOrEqual(smuggled(there).length);
      for (const { raw } of through.seen.get(n) ?? []) {
        const names = raw.filter((_, i) => i % 2 === 0).map((name) => name.toLowerCase());
        expect
          .soft(
            names.filter((name) => /^(host|content-length|transfer-encoding)$/.test(name)).length,
            told,
          )
          .toBeLessThanOrEqual(2);
        expect.soft(names, told).not.toEqual(expect.arrayContaining(["proxy-authorization"]));
        expect
          .soft(
            names.includes("upgrade") || names.includes("http2-settings") || names.includes("te"),
            told,
          )
          .toBe(false);
        expect.soft(raw.join("\n"), told).not.toMatch(/6\.6\.6\.6/);
      }
    }
    // The corpus would prove nothing if all of it were refused.
    expect(passed).toBeGreaterThan(50);
  });

  const ANSWERS = [
    ...LENGTHS.flatMap((length) =>
      CODINGS.map((coding) => {
        const fields = [...named("Content-Length", length), ...named("Transfer-Encoding", coding)];
        return `${["HTTP/1.1 200 OK", ...fields].join("\r\n")}\r\n\r\n${coding.length > 0 ? CHUNKED : "hello"}`;
      }),
    ),
    ...FIELDS.map((field) => `HTTP/1.1 200 OK\r\n${field}\r\nContent-Length: 5\r\n\r\nhello`),
    ...CHUNKS.map((body) => `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${body}`),
    "HTTP/1.1 200\r\nContent-Length: 5\r\n\r\nhello",
    "HTTP/1.1 2000 OK\r\nContent-Length: 5\r\n\r\nhello",
    "HTTP/1.1 20 OK\r\nContent-Length: 5\r\n\r\nhello",
    "HTTP/2.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "HTTP/1.1 200 O\x00K\r\nContent-Length: 5\r\n\r\nhello",
    "HTTP/1.1 200 OK\nContent-Length: 5\n\nhello",
    "HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nhello",
    "HTTP/1.1 204 None\r\nContent-Length: 5\r\n\r\nhello",
    "HTTP/1.1 304 Same\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled",
    "nothing of the kind",
    "",
  ];

  it(`passes on no answer that undici reads otherwise, in ${ANSWERS.length} answers`, async () => {
    const raw = createServer((socket) => {
      socket.on("error", () => {});
      socket.once("data", (chunk) => {
        const [, n] = /\?(\d+) /.exec(chunk.toString("latin1")) ?? [];
        socket.end(ANSWERS[Number(n)] ?? "", "latin1");
      });
    });
    await using bed = await WestBed.open("case-2", ({ west }) => {
      west.limits = { timeout: 10 };
    });
    await bed.startAll();
    raw.listen(bed.port(9941), "127.0.0.1");
    await once(raw, "listening");
    const one = async (n: number) => {
      const url = `http://127.0.0.1:${bed.port(9941)}/a?${n}`;
      const direct = undici(url, { headersTimeout: 15_000, bodyTimeout: 15_000 }).then(
        async ({ statusCode: status, body }) => ({ status, text: await body.text() }),
      );
      const ours = ask(bed.port(9931), `/pa?${n}`).then(({ status, text }) => ({ status, text }));
      return await Promise.all([direct, ours].map((each) => each.catch(() => undefined)));
    };
    const results = await inTurns(ANSWERS, (_, n) => one(n));
    let passed = 0;
    for (const [n, [direct, ours]] of results.entries()) {
      const told = JSON.stringify(ANSWERS[n]?.slice(0, 200));
      if (!ours || ours.status >= 500) continue;
      passed += 1;
      // Whether undici takes what follows a 304 for its body depends on when it comes. It has none.
      if (ours.status === 304 && direct) direct.text = "";
      expect.soft(ours, told).toEqual(direct);
      expect.soft(ours.text, told).not.toContain("smuggled");
    }
    expect(passed).toBeGreaterThan(30);
    raw.close();
  });
});
