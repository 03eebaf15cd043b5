import { once } from "node:events";
import { type ClientHttp2Session, connect as connectHttp2 } from "node:http2";
import { connect, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { readTls } from "../../src/net/tls.ts";
import { Authority } from "../support/certificates.ts";
import { send } from "../support/http.ts";
import { call, echo, JsonrpcServers, type Serve } from "../support/jsonrpc-servers.ts";
import { until } from "../support/until.ts";

type Papers = { cert: string; key: string; ca: string[]; servername: string };

describe("a JSON-RPC server", () => {
  const servers = new JsonrpcServers();
  const cleanup: Array<() => unknown> = [];
  let authority: Authority;
  let papers: Papers;
  beforeAll(async () => {
    authority = await Authority.open();
    papers = (await readTls(await authority.issue("hd-1"))) as Papers;
    papers.servername = "localhost";
  });
  afterEach(async () => {
    for (const each of cleanup.splice(0)) await each();
    await servers[Symbol.asyncDispose]();
  });
  afterAll(() => authority[Symbol.asyncDispose]());

  /** A server with and without TLS, and how to reach it with bytes of one's own. */
  const WAYS = ["HTTP", "HTTP over TLS"] as const;
  async function open(
    way: (typeof WAYS)[number] | "HTTP/2",
    settings: Parameters<JsonrpcServers["open"]>[0] = {},
    serve: Serve = echo,
  ) {
    const tls = way === "HTTP" ? undefined : await authority.issue("localhost");
    const { port } = await servers.open({ tls, ...settings }, serve);
    const knock = async (localAddress = "127.0.0.1"): Promise<Socket> => {
      const options = { port, host: "127.0.0.1", localAddress };
      const socket = tls
        ? connectTls({ ...options, ...papers, ALPNProtocols: ["http/1.1"] })
        : connect(options);
      cleanup.push(() => socket.destroy());
      socket.on("error", () => {}).resume();
      const ready = tls ? "secureConnect" : "connect";
      await new Promise((resolve) => socket.once(ready, resolve).once("close", resolve));
      return socket;
    };
    return { port, knock, trust: tls ? papers : {} };
  }

  async function openSession(port: number): Promise<ClientHttp2Session> {
    const session = connectHttp2(`https://127.0.0.1:${port}`, papers);
    session.on("error", () => {});
    cleanup.push(() => session.destroy());
    await once(session, "connect");
    return session;
  }
  const POST = { ":method": "POST", ":path": "/jsonrpc", "content-type": "application/json" };
  const gone = (socket: Socket, what: string) => until(() => socket.closed, `${what} is closed`);

  describe.each(WAYS)("over %s", (way) => {
    it("closes who is silent, dribbles headers or asks for nothing more (T7)", async () => {
      const { port, knock, trust } = await open(way, { idle_timeout: 0.5 });
      const [silent, dribbler, idle] = [await knock(), await knock(), await knock()];
      dribbler.write("POST /jsonrpc HTTP/1.1\r\n");
      const timer = setInterval(() => dribbler.write("x: y\r\n"), 50);
      cleanup.push(() => clearInterval(timer));
      const body = call();
      idle.write(
        `POST /jsonrpc HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
      );
      await Promise.all([gone(silent, "the silent one"), gone(dribbler, "the dribbler")]);
      await gone(idle, "the idle one");
      expect((await send(port, call(), trust)).status).toBe(200);
    });

    it("tells a caller that its body did not come in time, and hangs up (T7)", async () => {
      const { knock } = await open(way, { request_timeout: 0.5 });
      const socket = await knock();
      let heard = "";
      socket.on("data", (bytes) => {
        heard += bytes;
      });
      socket.write(
        "POST /jsonrpc HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{",
      );
      const timer = setInterval(() => socket.write(" "), 100);
      cleanup.push(() => clearInterval(timer));
      await gone(socket, "the slow one");
      expect(heard).toContain("request_timeout");
    });

    it("leaves a caller alone that waits for a slow answer (T7)", async () => {
      let answer = (): void => {};
      const { port, trust, knock } = await open(
        way,
        { request_timeout: 0.3, idle_timeout: 0.3 },
        () =>
          new Promise((resolve) => {
            answer = () => resolve({ result: "slow" });
          }),
      );
      const reply = send(port, call(), trust);
      const witness = await knock();
      await gone(witness, "somebody who came later and asked for nothing");
      answer();
      expect((await reply).json).toMatchObject({ result: "slow" });
    });

    it("lets so many connections in from one source, and others still (T7, T9)", async () => {
      const { port, knock, trust } = await open(way, { connections_per_source_max: 20 });
      const crowd = await Promise.all(Array.from({ length: 200 }, () => knock()));
      await until(
        () => crowd.filter(({ closed }) => closed).length === 180,
        () => `180 are turned away (${crowd.filter(({ closed }) => closed).length} are)`,
      );
      await expect(send(port, call(), trust)).rejects.toThrow();
      const reply = await send(port, call(), { ...trust, localAddress: "127.0.0.2" });
      expect(reply.status).toBe(200);
      crowd.find(({ closed }) => !closed)?.destroy();
      await until(async () => {
        const again = await send(port, call(), trust).catch(() => undefined);
        return again?.status === 200;
      }, "there is room again");
    });

    it("counts connections of its own listener only, against the rate of each source (T9)", async () => {
      const tcp_rate_limits = [{ type: "hour" as const, limit: 2 }];
      const first = await open(way, { tcp_rate_limits });
      const second = await open(way, { tcp_rate_limits });
      for (const { port, trust } of [first, second]) {
        expect((await send(port, call(), trust)).status).toBe(200);
        expect((await send(port, call(), trust)).status).toBe(200);
        await expect(send(port, call(), trust)).rejects.toThrow();
        const other = { ...trust, localAddress: "127.0.0.2" };
        expect((await send(port, call(), other)).status).toBe(200);
      }
    });

    it.each<[what: string, body: string, problem: RegExp]>([
      ["a body that is too large", `"${"x".repeat(3_000)}"`, /body_max/],
      ["lists without end", "[".repeat(1_900), /not JSON/],
      ["a batch", `[${Array(20).fill(call()).join()}]`, /batches are not supported/],
      ["deep nesting", call({ params: nest(150) }), /100 levels/],
      ["a number for params", call({ params: 7 }), /expected an object/],
      ["a method of 101 bytes", call({ method: "a".repeat(101) }), /1 to 100 bytes/],
      ["an id of 1,025 bytes", call({ id: "i".repeat(1_025) }), /at most 1024/],
      ["an id that is a list", call({ id: [1] }), /a string or an integer/],
      ["bytes that are no text", "\xff\xfe\x00", /not JSON/],
    ])("refuses %s before anybody is asked who may call what (T24)", async (_, body, problem) => {
      let asked = 0;
      const { port, trust } = await open(way, { body_max: 2_500 }, async (request, ...rest) => {
        asked += 1;
        return await echo(request, ...rest);
      });
      const reply = await send(port, Buffer.from(body, "latin1"), trust);
      expect(reply.status).toBeGreaterThanOrEqual(400);
      expect(reply.status).toBeLessThan(500);
      expect(JSON.stringify(reply.json)).toMatch(problem);
      expect(asked).toBe(0);
      expect((await send(port, call(), trust)).status).toBe(200);
    });

    it("reads a key that comes twice once, and a prototype as any key (T24)", async () => {
      const { port, trust } = await open(way);
      const twice =
        '{"jsonrpc":"2.0","method":"hd-2.a","method":"hd-2.b","params":{"__proto__":{"admin":true},"constructor":{"prototype":{"admin":true}},"a":1,"a":2}}';
      const { text } = await send(port, twice, trust);
      // What was checked is what is passed on: one method, one a.
      expect(text).toContain('"method":"hd-2.b"');
      expect(text).toContain('"__proto__":{"admin":true}');
      expect(text).toContain('"a":2');
      expect(text).not.toContain('"a":1');
      expect(({} as { admin?: boolean }).admin).toBeUndefined();
    });
  });

  describe("over HTTP/2", () => {
    it("ends a stream whose body does not come in time, and no other (T7)", async () => {
      const { port } = await open("HTTP/2", { request_timeout: 0.5 });
      const session = await openSession(port);
      const slow = session.request(POST, { endStream: false });
      slow.on("error", () => {}).resume();
      slow.write("{");
      await until(() => slow.closed, "the slow stream is closed");
      const quick = session.request(POST);
      quick.end(call());
      const [headers] = await once(quick, "response");
      expect(headers[":status"]).toBe(200);
    });

    it("closes a session that only says that it is alive (T7)", async () => {
      const { port } = await open("HTTP/2", { idle_timeout: 0.5 });
      const session = await openSession(port);
      const timer = setInterval(() => !session.destroyed && session.ping(() => {}), 100);
      cleanup.push(() => clearInterval(timer));
      await until(() => session.closed || session.destroyed, "the session is closed");
    });

    it("hangs up on who never takes its answers (T25)", async () => {
      const { port } = await open(
        "HTTP/2",
        { request_timeout: 0.5, idle_timeout: 0.5 },
        async () => ({
          result: "x".repeat(100_000),
        }),
      );
      const session = connectHttp2(`https://127.0.0.1:${port}`, {
        ...papers,
        settings: { initialWindowSize: 0 },
      });
      session.on("error", () => {});
      cleanup.push(() => session.destroy());
      const starving = Array.from({ length: 50 }, () => {
        const stream = session.request(POST);
        stream.on("error", () => {});
        stream.end(call());
        return stream;
      });
      await until(() => starving.every(({ closed }) => closed), "all are cut");
      await until(() => session.closed || session.destroyed, "the session is closed");
      expect((await send(port, call(), papers)).status).toBe(200);
    });
  });
});

function nest(levels: number): object {
  let value = {};
  for (let level = 0; level < levels; level += 1) value = { a: value };
  return value;
}
