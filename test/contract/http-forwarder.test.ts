import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { type ClientRequest, request as httpRequest, type IncomingMessage } from "node:http";
import { text } from "node:stream/consumers";
import { createServer as createTlsFront, connect as tlsConnect } from "node:tls";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { readTls } from "../../src/net/tls.ts";
import { Authority } from "../support/certificates.ts";
import { Forwarding, heldBytes, portOf } from "../support/forwarding.ts";
import { until } from "../support/until.ts";
import { Ear, openSockets } from "../support/wires.ts";

const MIB = 1024 ** 2;
const BODY = 20 * MIB;
const HELD_MAX = 4 * MIB;
const CLOSE = ["Host: shop.example", "Connection: close"] as const;

describe("the HTTP forwarder", () => {
  let sockets: number | undefined;

  beforeEach(() => {
    sockets = openSockets();
  });
  afterEach(async () => {
    await until(
      () => openSockets() === sockets,
      () => `${sockets} sockets are left (there are ${openSockets()})`,
    );
  });

  /** The answer to a request made with Node's own client, which keeps its connection. */
  async function fetched(
    at: Forwarding,
    options: Parameters<typeof httpRequest>[1] = {},
    send: (request: ClientRequest) => unknown = (request) => request.end(),
  ): Promise<IncomingMessage> {
    const request = httpRequest(`http://127.0.0.1:${at.port}`, { agent: at.agent, ...options });
    void send(request);
    const [answer] = (await once(request, "response")) as [IncomingMessage];
    return answer;
  }

  it("passes on method, path, headers in order and repeated, and says who asked", async () => {
    let seen: IncomingMessage | undefined;
    await using at = await Forwarding.open((request, response) => {
      seen = request;
      response.end();
    });
    await at.ask(
      "PATCH /a%20b/../c?q=%C3%BC&q=1 HTTP/1.1",
      ...CLOSE,
      "x-One: 1",
      "X-Two: caf\xe9",
      "x-one: 2",
      "X-Forwarded-For: 6.6.6.6",
      "X-Forwarded-Host: evil.example",
      "X_Forwarded_Proto: http",
      "Forwarded: for=6.6.6.6",
      "Content-Length: 1",
      "",
      "!",
    );
    expect(`${seen?.method} ${seen?.url}`).toBe("PATCH /a%20b/../c?q=%C3%BC&q=1");
    expect(seen?.rawHeaders).toEqual([
      ...["Host", at.host, "x-One", "1", "X-Two", "caf\xe9", "x-one", "2", "Content-Length", "1"],
      ...["X-Forwarded-Host", "shop.example", "X-Forwarded-For", "127.0.0.1"],
      ...["X-Forwarded-Proto", "https", "Connection", "keep-alive"],
    ]);
  });

  it("passes back status, reason and headers in order and repeated, redirects untouched", async () => {
    await using at = await Forwarding.open((_, response) => {
      const headers = ["Set-Cookie", "a=1", "Location", "http://127.0.0.1:1/", "Date", "today"];
      response.writeHead(302, "Over There", [...headers, "set-cookie", "b=2", "X", "caf\xe9"]);
      response.end(Buffer.from("gone")); // a text would be written with the header, and both as UTF-8
    });
    const answer = await at.ask("GET / HTTP/1.1", ...CLOSE, "", "");
    expect(answer).toBe(
      [
        ...["HTTP/1.1 302 Over There", "Set-Cookie: a=1", "Location: http://127.0.0.1:1/"],
        ...["Date: today", "set-cookie: b=2", "X: caf\xe9", "Connection: close"],
        ...["Transfer-Encoding: chunked", "", "4", "gone", "0", "", ""],
      ].join("\r\n"),
    );
  });

  it("removes what is between neighbours only, in both directions", async () => {
    let seen: IncomingMessage | undefined;
    await using at = await Forwarding.open((request, response) => {
      seen = request;
      const secret = ["Connection", "close, X-Hop", "X-Hop", "1", "Proxy-Authenticate", "Basic"];
      response.writeHead(200, [...secret, "Keep-Alive", "timeout=77", "X-End", "1"]).end();
    });
    const answer = await at.ask(
      "POST / HTTP/1.1",
      "Host: shop.example",
      "Connection: close, x-hop, Content-Length, Host",
      ...["X-Hop: 1", "X-End: 1", "TE: trailers", "Trailer: X-Sum", "Keep-Alive: 1"],
      ...["Proxy-Authorization: Basic x", "Proxy-Connection: close", "Content-Length: 2"],
      ...["", "hi"],
    );
    expect(answer).not.toMatch(/x-hop|proxy|timeout=77/i);
    expect(answer).toContain("X-End: 1\r\n");
    const names = seen?.rawHeaders.filter((_, index) => index % 2 === 0);
    expect(names?.slice(0, 3)).toEqual(["Host", "X-End", "Content-Length"]);
    expect(names?.slice(3).join()).toBe(
      "X-Forwarded-Host,X-Forwarded-For,X-Forwarded-Proto,Connection",
    );
    expect(seen?.headers.connection).toBe("keep-alive");
  });

  it("passes trailers on both ways", async () => {
    let sum: Promise<unknown> | undefined;
    await using at = await Forwarding.open((request, response) => {
      sum = text(request).then(() => {
        response.write("answer");
        response.addTrailers([["X-Answer-Sum", "2"]]);
        response.end();
        return request.rawTrailers;
      });
    });
    const chunks = ["5", "hello", "0", "X-Sum: 1", "Host: evil.example", "", ""];
    const request = ["PUT / HTTP/1.1", ...CLOSE, "Transfer-Encoding: chunked", "", ...chunks];
    expect(await at.ask(...request)).toMatch(/\r\n6\r\nanswer\r\n0\r\nX-Answer-Sum: 2\r\n\r\n$/);
    expect(await sum).toEqual(["X-Sum", "1"]);
  });

  it.each([
    { method: "HEAD", status: 200, length: "Content-Length: 12345\r\n" },
    { method: "GET", status: 204, length: "" },
    { method: "GET", status: 304, length: "Content-Length: 12345\r\n" },
  ])("gives no body to a $method that is answered $status", async ({ method, status, length }) => {
    await using at = await Forwarding.open((_, response) => {
      response.writeHead(status, length ? { "Content-Length": 12345 } : {}).end();
    });
    const { ear, socket } = await at.say(`${method} / HTTP/1.1`, "Host: a", "", "");
    await until(() => ear.bytes.includes("\r\n\r\n"), "it answers");
    socket.write(`${method} / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`);
    expect(await ear.hearsTheEnd()).toBe("end");
    const answers = ear.bytes.toString();
    expect(answers).toMatch(/^HTTP\/1\.1 .*\r\n\r\nHTTP\/1\.1 .*\r\n\r\n$/s);
    expect(answers.split("\r\n\r\n")).toHaveLength(3);
    expect(answers).not.toContain("chunked");
    expect(answers).toContain(length);
  });

  it("lets 100 Continue and early hints pass before the answer, and no body before them", async () => {
    await using at = await Forwarding.open(() => {});
    at.internal.on("checkContinue", async (request, response) => {
      response.writeEarlyHints({ link: "</a.css>; rel=preload" });
      response.writeContinue();
      response.end(await text(request));
    });
    const head = ["POST / HTTP/1.1", ...CLOSE, "Expect: 100-continue", "Content-Length: 5", "", ""];
    const { socket, ear } = await at.say(...head);
    await until(() => ear.bytes.includes("HTTP/1.1 100 Continue\r\n\r\n"), "we may go on");
    expect(ear.bytes.toString()).toMatch(/^HTTP\/1\.1 103 Early Hints\r\nLink: <\/a\.css>/);
    socket.write("hello");
    await ear.hearsTheEnd();
    expect(ear.bytes.toString()).toMatch(/HTTP\/1\.1 200 OK\r\n.*hello/s);
  });

  it("lets the internal server refuse a body before it is sent", async () => {
    await using at = await Forwarding.open(() => {});
    at.internal.on("checkContinue", (_, response) => response.writeHead(403).end());
    const { ear } = await at.say(
      ...["POST / HTTP/1.1", "Host: a", "Expect: 100-continue", "Content-Length: 5", "", ""],
    );
    expect(await ear.hearsTheEnd()).toBe("end");
    expect(ear.bytes.toString()).toMatch(/^HTTP\/1\.1 403 Forbidden\r\n/);
  });

  it("takes a whole URL for its path and its authority", async () => {
    await using at = await Forwarding.open(({ url, headers }, response) => {
      response.end(`${url} ${headers.host} ${headers["x-forwarded-host"]}`);
    });
    const request = ["GET http://me@shop.example:8?q HTTP/1.0", "Host: evil.example", "", ""];
    expect(await at.ask(...request)).toMatch(
      new RegExp(`\r\n\r\n/\\?q ${at.host} shop.example:8$`),
    );
  });

  it("keeps its connections on both sides", async () => {
    await using at = await Forwarding.open(async (request, response) => {
      response.end(await text(request));
    });
    for (let count = 0; count < 10; count += 1) {
      const answer = await fetched(at, { method: "POST" }, (request) => request.end(`${count}`));
      expect(await text(answer)).toBe(`${count}`);
    }
    expect(at.connections).toEqual({ front: 1, internal: 1 });
  });

  it("asks again when an idle connection was closed just as it was taken", async () => {
    await using at = await Forwarding.open(({ socket, url }, response) => {
      if (url === "/second" && at.connections.internal === 1) socket.destroy();
      else response.end("here");
    });
    for (const path of ["/first", "/second"]) {
      expect(await text(await fetched(at, { path }))).toBe("here");
    }
    expect(at.connections.internal).toBe(2);
  });

  it("answers requests sent ahead in order, one at a time", async () => {
    const seen: string[] = [];
    await using at = await Forwarding.open(({ url = "" }, response) => {
      seen.push(`${url} asked`);
      setImmediate(() => response.end(url, () => seen.push(`${url} answered`)));
    });
    const asked = ["/1", "/2", "/3"].map((path) => `GET ${path} HTTP/1.1\r\nHost: a\r\n`);
    const { ear } = await at.say(...asked, "");
    await until(() => ear.bytes.includes("/3"), "the third is answered");
    await until(() => seen.length === 6, "the internal server knows");
    expect(seen).toEqual(["/1", "/2", "/3"].flatMap((p) => [`${p} asked`, `${p} answered`]));
    expect(ear.bytes.toString().match(/\/\d(?=HTTP|$)/g)).toEqual(["/1", "/2", "/3"]);
  });

  it("brings an event before the answer ends, and body before the request ends", async () => {
    const seen: string[] = [];
    await using at = await Forwarding.open((request, response) => {
      response.writeHead(200, { "Content-Type": "text/event-stream" }).flushHeaders();
      request.on("data", (chunk) => response.write(`data: ${chunk}\n\n`));
      request.on("end", () => response.end());
    });
    const request = httpRequest({ port: at.port, method: "POST", agent: at.agent });
    request.flushHeaders();
    const [answer] = (await once(request, "response")) as [IncomingMessage];
    answer.setEncoding("utf8").on("data", (event) => seen.push(event));
    for (const event of ["one", "two"]) {
      request.write(event);
      await until(() => seen.at(-1) === `data: ${event}\n\n`, `event ${event} arrives`);
    }
    expect(answer.complete).toBe(false);
    request.end();
    await once(answer, "end");
  });

  /** Writes as fast as it is taken, and says what it wrote. */
  async function pour(into: NodeJS.WritableStream, held: (bytes: number) => void): Promise<string> {
    const hash = createHash("sha256");
    for (let sent = 0; sent < BODY; sent += 65_536) {
      const chunk = randomBytes(65_536);
      hash.update(chunk);
      if (!into.write(chunk)) await once(into, "drain");
      if (sent % MIB === 0) held(heldBytes());
    }
    into.end();
    return hash.digest("hex");
  }

  it.each([
    { framing: "by its length", headers: { "Content-Length": BODY } },
    { framing: "in chunks", headers: {} },
  ])("carries 20 MiB $framing each way unchanged, and holds little of it", async ({ headers }) => {
    const asked: Array<Promise<string>> = [];
    const answered: Array<Promise<string>> = [];
    const held: number[] = [heldBytes()];
    await using at = await Forwarding.open((request, response) => {
      const hash = createHash("sha256");
      request.pipe(hash).on("finish", () => {
        asked.push(Promise.resolve(hash.digest("hex")));
        response.writeHead(200, headers);
        answered.push(pour(response, (bytes) => held.push(bytes)));
      });
    });
    let sent: Promise<string> | undefined;
    const answer = await fetched(at, { method: "POST", headers }, (request) => {
      sent = pour(request, (bytes) => held.push(bytes));
    });
    const received = answer.pipe(createHash("sha256"));
    await once(received, "readable");
    expect(await asked[0]).toBe(await sent);
    expect(received.read().toString("hex")).toBe(await answered[0]);
    expect(Math.max(...held) - (held[0] ?? 0)).toBeLessThan(HELD_MAX);
  });

  it("serves TLS whose end it is, and never lets a break look like an end there", async () => {
    await using authority = await Authority.open();
    await using at = await Forwarding.open((request, response) => {
      response.write("half", () => request.socket.resetAndDestroy());
    });
    const tls = await readTls(await authority.issue("shop.example"));
    const front = createTlsFront(tls, (socket) => at.forwarder.accept(socket));
    await once(front.listen(0, "127.0.0.1"), "listening");
    const socket = tlsConnect({
      port: portOf(front),
      host: "127.0.0.1",
      rejectUnauthorized: false,
    });
    const ear = new Ear(socket);
    socket.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    await ear.hearsTheEnd();
    front.close();
    socket.destroy();
    expect(ear.bytes.toString()).toMatch(/^HTTP\/1\.1 200 OK\r\n.*\r\n4\r\nhalf\r\n$/s);
  });
});
