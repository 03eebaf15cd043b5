import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { type IncomingMessage, request, type ServerResponse } from "node:http";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { WebSocket, WebSocketServer } from "ws";
import { CASES } from "../../src/roles/dev/west.ts";
import { until } from "../support/until.ts";
import { ask, cut, Origin, WestBed } from "../support/west-bed.ts";

const BINARY = Buffer.from(Array.from({ length: 4_096 }, (_, i) => (i * 7 + (i >> 8)) % 256));
const LARGE = randomBytes(20 * 1024 * 1024);

/** What the server is told to do stands in the query, which has to come through for that. */
async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const query = new URL(request.url ?? "", "http://origin").searchParams;
  switch (query.get("do")) {
    case "echo": {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk);
      const body = Buffer.concat(chunks);
      response.writeHead(200, {
        "content-type": "application/octet-stream",
        "x-size": body.length,
      });
      return void response.end(body);
    }
    case "move":
      return void response.writeHead(301, { location: "/elsewhere?a=b" }).end("moved");
    case "missing":
      return void response.writeHead(404, "Nothing Of That Kind").end("nothing here");
    case "empty":
      return void response.writeHead(204).end();
    case "same":
      return void response.writeHead(304, { etag: '"1"' }).end();
    case "cookies":
      response.writeHead(200, ["Set-Cookie", "a=1", "X-Between", "y", "Set-Cookie", "b=2, c"]);
      return void response.end();
    case "break":
      response.writeHead(200, { "content-length": 100 });
      response.write("not all");
      return void setImmediate(() => cut(request.socket));
    case "slow":
      return;
    default: {
      const headers = Object.fromEntries(Object.entries(request.headers));
      response.setHeader("content-type", "application/json");
      response.end(JSON.stringify({ method: request.method, url: request.url, headers }));
    }
  }
}

const TUNNELS = CASES.flatMap((each) => [1, 2].map((version) => ({ ...each, version })));

describe.each(TUNNELS)("$folder by version $version", ({ version, folder, ask: at, server }) => {
  let bed: WestBed;
  let origin: Origin;
  const asked = (what: string, options = {}) =>
    ask(bed.port(at.port), `${at.path}?do=${what}`, options);

  beforeAll(async () => {
    bed = await WestBed.open(folder, ({ west }) => {
      west.limits = { version_max: version, timeout: 5 };
    });
    origin = await Origin.open(serve, bed.port(server));
    await bed.startAll();
  });

  afterAll(async () => {
    await bed[Symbol.asyncDispose]();
    await origin[Symbol.asyncDispose]();
  });

  it.each(["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])(
    "keeps the method %s",
    async (method) => {
      const { status, text } = await asked("tell", { method });
      expect(status).toBe(200);
      expect(JSON.parse(text)).toMatchObject({ method, url: expect.stringMatching(/\?do=tell$/) });
      expect(bed.lines.find(({ msg, version }) => msg === "tunnel open" && version)).toMatchObject({
        version,
      });
    },
  );

  it("answers HEAD with the header of GET", async () => {
    const { status, headers, body } = await asked("missing", { method: "HEAD" });
    expect({ status, size: body.length }).toEqual({ status: 404, size: 0 });
    expect(headers["content-length"] ?? "12").toBe("12");
  });

  it("carries bytes of every kind both ways, by length and in chunks", async () => {
    const whole = await asked("echo", { method: "POST", body: BINARY });
    expect(whole.body.equals(BINARY)).toBe(true);
    const chunked = await asked("echo", {
      method: "POST",
      body: (async function* () {
        for (let at = 0; at < BINARY.length; at += 1_000) yield BINARY.subarray(at, at + 1_000);
      })(),
    });
    expect(chunked.headers["x-size"]).toBe(String(BINARY.length));
    expect(chunked.body.equals(BINARY)).toBe(true);
  });

  if (folder === "case-2")
    it("carries 20 MB each way", async () => {
      const { body } = await asked("echo", { method: "PUT", body: LARGE });
      expect(body.equals(LARGE)).toBe(true);
    });

  it("passes every answer as it is, and adds nothing to it", async () => {
    expect(await asked("move")).toMatchObject({
      status: 301,
      headers: { location: "/elsewhere?a=b" },
      text: "moved",
    });
    expect(await asked("missing")).toMatchObject({
      status: 404,
      reason: "Nothing Of That Kind",
      text: "nothing here",
    });
    expect(await asked("empty")).toMatchObject({ status: 204, text: "" });
    expect(await asked("same")).toMatchObject({ status: 304, headers: { etag: '"1"' }, text: "" });
  });

  it("keeps repeated fields apart and in order", async () => {
    const { raw, headers } = await asked("cookies");
    expect(headers["set-cookie"]).toEqual(["a=1", "b=2, c"]);
    const names = raw.filter((_, i) => i % 2 === 0).map((name) => name.toLowerCase());
    expect(names.slice(0, 3)).toEqual(["set-cookie", "x-between", "set-cookie"]);
    expect(names.filter((name) => name === "date")).toHaveLength(1);
  });

  it("says who asked, whatever the client says", async () => {
    const headers = {
      "x-forwarded-for": "6.6.6.6",
      "X-Forwarded_For": "6.6.6.6",
      forwarded: "for=6.6.6.6",
      "x-real-ip": "6.6.6.6",
      "x-mixed": "AbC",
    };
    const { text } = await asked("tell", { headers });
    const told = JSON.parse(text).headers;
    expect(text).not.toContain("6.6.6.6");
    expect(told).toMatchObject({ "x-forwarded-for": "127.0.0.1", "x-mixed": "AbC" });
    expect(told.forwarded).toMatch(/^for=127\.0\.0\.1;host="127\.0\.0\.1:\d+";proto=http$/);
    expect(told.host).toBe(`127.0.0.1:${bed.port(server)}`);
  });

  it("lets the client see that an answer broke off", async () => {
    if (version === 1) expect((await asked("break")).status).toBe(502);
    else await expect(asked("break")).rejects.toThrow();
    expect((await asked("tell")).status).toBe(200);
  });

  // A message cannot be taken back.
  if (version === 2)
    it("ends for the server what the client ends", async () => {
      const before = origin.requests.length;
      const asking = request({
        port: bed.port(at.port),
        host: "127.0.0.1",
        path: `${at.path}?do=slow`,
      });
      asking.on("error", () => {}).end();
      await until(() => origin.requests.length > before, "the server is asked");
      const { socket } = origin.requests.at(-1) as IncomingMessage;
      asking.destroy();
      await until(() => socket.destroyed, "the server is left");
    });

  it("tells one story of a request in all sites that it passed", async () => {
    const id = `trace-${version}-${folder}`;
    await asked("tell", { headers: { "x-request-id": id } });
    const told = () =>
      bed.lines.filter(({ msg, request }) => msg === "exchange ended" && request === id);
    const hops = new Set(CASES.find((each) => each.folder === folder)?.route);
    await until(() => new Set(told().map(({ site }) => site)).size === hops.size, "all sites tell");
    for (const line of told()) expect(line).toMatchObject({ method: "GET", status: 200 });
    expect(JSON.stringify(told())).not.toContain("do=tell");
  });
});

describe("a tunnel of version 2", () => {
  let bed: WestBed;
  let origin: Origin;
  const streams: ServerResponse[] = [];

  beforeAll(async () => {
    bed = await WestBed.open("case-2", ({ west, proxy }) => {
      west.limits = { timeout: 0.5, body_max: 1_000_000 };
      for (const listener of Object.values<Record<string, unknown>>(proxy)) {
        listener["/sub/*"] = {
          ou: `http://127.0.0.1:${(listener["/pa"] as { ou: string }).ou.split(":")[2]?.split("/")[0]}/deep`,
        };
      }
    });
    origin = await Origin.open((request, response) => {
      if (request.url?.startsWith("/deep")) return void response.end(request.url);
      if (request.url === "/a?trailers") {
        response.writeHead(200, { trailer: "x-sum" });
        response.addTrailers({ "x-sum": "42" });
        return void response.end("body");
      }
      if (request.url === "/a?early") {
        response.writeHead(401).end("not you");
        return void request.resume();
      }
      if (request.url === "/a?silent") return;
      request.resume();
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.flushHeaders();
      streams.push(response);
    }, bed.port(9941));
    await bed.startAll();
  });

  afterAll(async () => {
    for (const stream of streams) stream.destroy();
    await bed[Symbol.asyncDispose]();
    await origin[Symbol.asyncDispose]();
  });

  it("brings each event as it comes", async () => {
    const asking = request({
      port: bed.port(9931),
      host: "127.0.0.1",
      path: "/pa?events",
      agent: false,
    });
    asking.on("error", () => {}).end();
    const [answer] = (await once(asking, "response")) as [IncomingMessage];
    for (const event of ["one", "two"]) {
      const heard = once(answer, "data");
      streams.at(-1)?.write(`data: ${event}\n\n`);
      expect(String((await heard)[0])).toBe(`data: ${event}\n\n`);
    }
    streams.at(-1)?.end();
    asking.destroy();
  });

  it("brings trailers, and an answer that comes before the end of the request", async () => {
    expect((await ask(bed.port(9931), "/pa?trailers")).trailers).toEqual({ "x-sum": "42" });
    const endless = async function* () {
      for (;;) yield Buffer.alloc(1_000, ".");
    };
    expect(
      await ask(bed.port(9931), "/pa?early", { method: "POST", body: endless() }),
    ).toMatchObject({
      status: 401,
      text: "not you",
    });
  });

  it("answers 504 for a silent server, 413 for too much, 404 for no path, 403 outside", async () => {
    const port = bed.port(9931);
    expect((await ask(port, "/pa?silent")).status).toBe(504);
    const body = Buffer.alloc(1_000_001);
    expect((await ask(port, "/pa?x", { method: "POST", body })).status).toBe(413);
    expect((await ask(port, "/pa/sub")).status).toBe(404);
    expect((await ask(port, "/")).status).toBe(404);
  });

  it("publishes what lies below a path, and nothing above it", async () => {
    const port = bed.port(9931);
    expect((await ask(port, "/sub/one/two?x=1")).text).toBe("/deep/one/two?x=1");
    for (const path of ["/sub/../a", "/sub/%2e%2e/a", "/sub/..%2fa", "/sub/x/..\\a"])
      expect((await ask(port, path)).status).toBe(404);
  });

  it("lets a client speak WebSocket with the server", async () => {
    const echo = new WebSocketServer({ server: origin.server });
    echo.on("connection", (socket) => socket.on("message", (data) => socket.send(data)));
    const client = new WebSocket(`ws://127.0.0.1:${bed.port(9931)}/pa`);
    await once(client, "open");
    client.send(BINARY);
    expect((await once(client, "message"))[0]).toEqual(BINARY);
    client.close();
    await once(client, "close");
    echo.close();
  });

  it("keeps small requests going while readers of large answers stall", async () => {
    const more = Buffer.alloc(16 * 1024 * 1024); // than all buffers on the way can hold
    const stalled = async () => {
      const asking = request({
        port: bed.port(9931),
        host: "127.0.0.1",
        path: "/pa?large",
        agent: false,
      });
      asking.on("error", () => {}).end();
      const [answer] = (await once(asking, "response")) as [IncomingMessage];
      answer.pause();
      const sending = streams.at(-1) as ServerResponse;
      sending.write(more);
      return { asking, sending };
    };
    const all = [];
    for (let i = 0; i < 12; i += 1) {
      all.push(await stalled());
      for (let j = 0; j < 5; j += 1)
        expect((await ask(bed.port(9931), "/sub/x")).text).toBe("/deep/x");
    }
    for (const { sending } of all) expect(sending.writableNeedDrain).toBe(true);
    for (const { asking } of all) asking.destroy();
    for (const { sending } of all) await until(() => sending.destroyed, "the server is left");
  });
});
