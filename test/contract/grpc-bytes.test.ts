import { once } from "node:events";
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  createSecureServer,
  type IncomingHttpHeaders,
  type ServerHttp2Stream,
} from "node:http2";
import type { AddressInfo } from "node:net";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Fault } from "../../src/core/fault.ts";
import { silent } from "../../src/core/log.ts";
import { listen } from "../../src/net/listen.ts";
import { connectTls, readTls } from "../../src/net/tls.ts";
import { GrpcConnection } from "../../src/rpc/grpc/client.ts";
import { KEEPALIVE, MESSAGE_MAX } from "../../src/rpc/grpc/limits.ts";
import { toWire, type WireRequest, type WireResponse } from "../../src/rpc/grpc/messages.ts";
import { openGrpcServer, type ReverseStream } from "../../src/rpc/grpc/server.ts";
import { fromStruct, toStruct } from "../../src/wire/struct.ts";
import { Authority } from "../support/certificates.ts";
import { double, field, framed, whole } from "../support/protobuf.ts";
import { until } from "../support/until.ts";

/** eps-protocol 3.6, byte for byte. */
const ANNOUNCEMENT = Buffer.from("00000000150a013112100a0e0a046e616d6512061a0468642d31", "hex");

/** google.protobuf.Struct (eps-protocol 3.2): fields = 1, a map of key = 1 and value = 2. */
const entry = (key: string, value: Buffer): Buffer => field(1, field(1, key), field(2, value));
const PARAMS = [
  entry("null", whole(1, 0)),
  entry("number", double(2, -0.5)),
  entry("text", field(3, "grün")),
  entry("bool", whole(4, 1)),
  entry("struct", field(5, entry("deep", field(3, "er")))),
  entry("list", field(6, field(1, double(2, 1)), field(1, field(3, "two")))),
];
const SAID = { null: null, number: -0.5, text: "grün", bool: true, struct: { deep: "er" } };
const PLAIN = { ...SAID, list: [1, "two"] };

describe("the bytes of gRPC", () => {
  let authority: Authority;
  const closers: Array<() => unknown> = [];
  beforeEach(async () => {
    authority = await Authority.open();
    closers.push(() => authority[Symbol.asyncDispose]());
  });
  afterEach(async () => {
    for (const close of closers.splice(0).reverse()) await close();
  });

  /** Our server, and a client that knows HTTP/2 and nothing of gRPC. */
  async function rawClient(handlers: {
    call?: (request: WireRequest) => Promise<WireResponse>;
    reverse?: (stream: ReverseStream) => void;
  }): Promise<ClientHttp2Session> {
    const server = await openGrpcServer(
      await authority.issue("hd-2"),
      { call: async ({ id }) => ({ id }), reverse: () => {}, ...handlers },
      { log: silent },
    );
    const listener = await listen({ bind: "127.0.0.1:0", setting: "test" }, (socket) =>
      server.accept(socket),
    );
    const session = connect(`https://127.0.0.1:${listener.port}`, {
      ...(await readTls(await authority.issue("hd-1"))),
      servername: "hd-2",
    });
    closers.push(
      () => server[Symbol.asyncDispose](),
      () => listener[Symbol.asyncDispose](),
      () => session.destroy(),
    );
    return session;
  }

  function post(session: ClientHttp2Session, path: string): ClientHttp2Stream {
    return session.request({
      ":method": "POST",
      ":path": path,
      "content-type": "application/grpc",
      te: "trailers",
    });
  }

  async function answerTo(stream: ClientHttp2Stream) {
    const chunks: Buffer[] = [];
    let trailers: IncomingHttpHeaders = {};
    stream.on("response", (headers) => {
      trailers = { ...trailers, ...headers };
    });
    stream.on("trailers", (headers) => {
      trailers = { ...trailers, ...headers };
    });
    stream.on("data", (chunk: Buffer) => chunks.push(chunk));
    await once(stream, "close");
    return { bytes: Buffer.concat(chunks), status: trailers["grpc-status"], trailers };
  }

  it("are those of the original for a call and its answer [grpc 1]", async () => {
    const seen: WireRequest[] = [];
    const session = await rawClient({
      call: async (request) => {
        seen.push(request);
        return toWire(request.id, { result: { ok: true } });
      },
    });
    const stream = post(session, "/EPS/Call");
    stream.end(
      framed(
        field(1, "hd-2.add"),
        field(2, ...PARAMS),
        field(3, "hd-2.add(n:1)"),
        field(4, "hd-1"),
      ),
    );
    const { bytes, status } = await answerTo(stream);
    expect(status).toBe("0");
    expect(bytes).toEqual(framed(field(1, "hd-2.add(n:1)"), field(2, entry("ok", whole(4, 1)))));
    expect(seen[0]).toMatchObject({ method: "hd-2.add", id: "hd-2.add(n:1)", clientName: "hd-1" });
    expect(fromStruct(seen[0]?.params)).toEqual(PLAIN);
  });

  it("are those of the original for an error answer [grpc 1]", async () => {
    const session = await rawClient({
      call: async ({ id }) => toWire(id, { error: { code: 403, message: "no", data: "because" } }),
    });
    const stream = post(session, "/EPS/Call");
    stream.end(framed(field(3, "x.y(1)")));
    const { bytes } = await answerTo(stream);
    const error = field(
      3,
      whole(1, 403),
      field(2, "no"),
      field(3, entry("_", field(3, "because"))),
    );
    expect(bytes).toEqual(framed(field(1, "x.y(1)"), error));
  });

  it("hold only the id when there is no answer", async () => {
    const session = await rawClient({ call: async ({ id }) => toWire(id, undefined) });
    const stream = post(session, "/EPS/Call");
    stream.end(framed(field(3, "x.y(1)")));
    expect((await answerTo(stream)).bytes).toEqual(framed(field(1, "x.y(1)")));
  });

  it("say UNKNOWN when a call fails, and UNIMPLEMENTED for another service [grpc 7]", async () => {
    const session = await rawClient({
      call: async () => {
        throw new Fault("not_found", "no such operator");
      },
    });
    const stream = post(session, "/EPS/Call");
    stream.end(framed());
    const { status, trailers } = await answerTo(stream);
    expect(status).toBe("2");
    expect(decodeURIComponent(`${trailers["grpc-message"]}`)).toBe(
      "error handling gRPC request: no such operator",
    );
    const other = post(session, "/eps.EPS/Call");
    other.end(framed());
    expect((await answerTo(other)).status).toBe("12");
  });

  it("are refused when they are more than 4 MiB [grpc 6]", async () => {
    let called = false;
    const session = await rawClient({
      call: async ({ id }) => {
        called = true;
        return { id };
      },
    });
    const stream = post(session, "/EPS/Call");
    stream.on("error", () => {});
    stream.end(framed(field(3, "x".repeat(4 * 1024 ** 2))));
    expect((await answerTo(stream)).status).toBe("8");
    expect(called).toBe(false);
  });

  it("are kept company by pings that originals tolerate, and dead peers found out in time [grpc 6]", () => {
    expect(KEEPALIVE["grpc.keepalive_time_ms"]).toBeGreaterThan(15_000);
    expect(KEEPALIVE["grpc.keepalive_timeout_ms"]).toBeLessThanOrEqual(30_000);
    expect(MESSAGE_MAX).toBe(4_194_304);
  });

  it("are refused when they nest without end, and the server goes on", async () => {
    const session = await rawClient({
      call: async (request) => toWire(request.id, { result: fromStruct(request.params) }),
    });
    let params: Buffer = Buffer.alloc(0);
    for (let level = 0; level < 5_000; level += 1) params = entry("", field(5, params));
    const hostile = post(session, "/EPS/Call");
    hostile.on("error", () => {});
    hostile.end(framed(field(2, params), field(3, "x.y(1)")));
    expect((await answerTo(hostile)).status).not.toBe("0");

    const honest = post(session, "/EPS/Call");
    honest.end(framed(field(3, "x.y(2)")));
    expect((await answerTo(honest)).status).toBe("0");
  });

  it("are read from an announcement of the original, and answered with requests [grpc 5]", async () => {
    const heard: WireResponse[] = [];
    const session = await rawClient({
      reverse: (stream) => {
        stream.on("data", (response: WireResponse) => {
          heard.push(response);
          if (heard.length > 1) return;
          const id = "hd-1._ping(7)";
          stream.write({ id, method: "hd-1._ping", params: null, clientName: "hd-2" });
        });
      },
    });
    const stream = post(session, "/EPS/ServerCall");
    stream.on("error", () => {});
    stream.write(ANNOUNCEMENT);
    const [asked] = (await once(stream, "data")) as [Buffer];
    expect(asked).toEqual(
      framed(field(1, "hd-1._ping"), field(3, "hd-1._ping(7)"), field(4, "hd-2")),
    );
    expect(heard[0]?.id).toBe("1");
    expect(fromStruct(heard[0]?.result)).toEqual({ name: "hd-1" });

    stream.write(framed(field(1, "hd-1._ping(7)"), field(2, entry("_", field(3, "pong")))));
    await until(() => heard.length === 2, "the answer arrives");
    expect(heard[1]?.id).toBe("hd-1._ping(7)");
    expect(fromStruct(heard[1]?.result)).toEqual({ _: "pong" });
    stream.close();
  });

  describe("of our client", () => {
    /** A server that knows HTTP/2 and nothing of gRPC, and our client connected to it. */
    async function rawServer(
      handle: (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => void,
    ): Promise<GrpcConnection> {
      const { cert, key, ca } = await readTls(await authority.issue("hd-2"));
      const server = createSecureServer({ cert, key, ca, requestCert: true });
      server.on("stream", (stream, headers) => {
        stream.on("error", () => {});
        handle(stream, headers);
      });
      server.listen(0, "127.0.0.1");
      await once(server, "listening");
      const { port } = server.address() as AddressInfo;
      const tls = await readTls(await authority.issue("hd-1"));
      const connection = new GrpcConnection(
        { endpoint: { host: "127.0.0.1", port }, name: "hd-2" },
        (socket) =>
          connectTls(
            socket,
            tls,
            { name: "hd-2", skip_verify: false },
            new AbortController().signal,
          ),
      );
      closers.push(
        () => new Promise((resolve) => server.close(resolve)),
        () => connection.close(),
      );
      return connection;
    }

    const OK = { ":status": 200, "content-type": "application/grpc" };

    function respond(stream: ServerHttp2Stream, message: Buffer): void {
      stream.respond(OK, { waitForTrailers: true });
      stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
      stream.end(message);
    }

    const request = {
      method: "hd-2.add",
      params: toStruct({ a: "b" }),
      id: "hd-2.add(1)",
      clientName: "hd-1",
    };

    it("are those of the original for a call [grpc 1]", async () => {
      let path: string | undefined;
      let authorityHeader: string | undefined;
      let timeout: unknown = "unseen";
      const said: Buffer[] = [];
      const connection = await rawServer((stream, headers) => {
        path = headers[":path"] as string;
        authorityHeader = headers[":authority"] as string;
        timeout = headers["grpc-timeout"];
        stream.on("data", (chunk: Buffer) => said.push(chunk));
        stream.on("end", () => respond(stream, framed(field(1, "hd-2.add(1)"), field(2))));
      });
      const response = await connection.call(request, new AbortController().signal);
      expect(path).toBe("/EPS/Call");
      expect(authorityHeader).toBe("hd-2");
      expect(timeout).toBeUndefined();
      expect(Buffer.concat(said)).toEqual(
        framed(
          field(1, "hd-2.add"),
          field(2, entry("a", field(3, "b"))),
          field(3, "hd-2.add(1)"),
          field(4, "hd-1"),
        ),
      );
      expect(fromStruct(response.result)).toEqual({});
    });

    it("may be at most 4 MiB when they come back [grpc 6]", async () => {
      const connection = await rawServer((stream) => {
        stream.resume();
        stream.on("end", () => respond(stream, framed(field(1, "x".repeat(4 * 1024 ** 2)))));
      });
      await expect(connection.call(request, new AbortController().signal)).rejects.toMatchObject({
        fault: "too_large",
      });
    });

    it("are those of the original for an announcement and for answers [grpc 5]", async () => {
      const said: Buffer[] = [];
      let path: string | undefined;
      const connection = await rawServer((stream, headers) => {
        path = headers[":path"] as string;
        stream.respond(OK);
        stream.on("data", (chunk: Buffer) => said.push(chunk));
        stream.write(framed(field(1, "hd-1._ping"), field(3, "hd-1._ping(7)"), field(4, "hd-2")));
      });
      const stream = connection.reverse();
      stream.on("error", () => {});
      stream.write({ id: "1", result: toStruct({ name: "hd-1" }) });
      const [asked] = (await once(stream, "data")) as [WireRequest];
      expect(asked).toMatchObject({ method: "hd-1._ping", id: "hd-1._ping(7)", params: null });
      stream.write(toWire(asked.id, { result: "pong" }));

      const answer = framed(field(1, "hd-1._ping(7)"), field(2, entry("_", field(3, "pong"))));
      const expected = Buffer.concat([ANNOUNCEMENT, answer]);
      await until(() => Buffer.concat(said).length >= expected.length, "the answer arrives");
      expect(Buffer.concat(said)).toEqual(expected);
      expect(path).toBe("/EPS/ServerCall");
      stream.cancel();
    });
  });
});
