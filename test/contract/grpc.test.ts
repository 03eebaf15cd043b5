import { once } from "node:events";
import type { Socket } from "node:net";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { aborted } from "../../src/core/deadline.ts";
import { Fault } from "../../src/core/fault.ts";
import { silent } from "../../src/core/log.ts";
import { dial } from "../../src/net/dial.ts";
import { type Listener, listen } from "../../src/net/listen.ts";
import { readExactly } from "../../src/net/read-hello.ts";
import type { TlsSettings } from "../../src/net/settings.ts";
import { connectTls, type Leaf, readTls } from "../../src/net/tls.ts";
import { spliceStreams } from "../../src/relay/stream/splice.ts";
import { GrpcConnection, SpentFault } from "../../src/rpc/grpc/client.ts";
import type { WireRequest, WireResponse } from "../../src/rpc/grpc/messages.ts";
import { type GrpcServer, openGrpcServer, type ReverseStream } from "../../src/rpc/grpc/server.ts";
import { fromStruct, toStruct } from "../../src/wire/struct.ts";
import { Authority } from "../support/certificates.ts";
import { until } from "../support/until.ts";

const never = new AbortController().signal;
const MIB = 1024 ** 2;

const request = (params: Record<string, string | number> = {}): WireRequest => ({
  method: "hd-2.add",
  params: toStruct(params),
  id: "hd-2.add(1)",
  clientName: "hd-1",
});
const echo = async ({ id, params }: WireRequest): Promise<WireResponse> => ({ id, result: params });

describe("gRPC", () => {
  let authority: Authority;
  let papers: Record<"hd-1" | "hd-2", TlsSettings>;
  const closers: Array<() => unknown> = [];

  beforeAll(async () => {
    authority = await Authority.open();
    papers = { "hd-1": await authority.issue("hd-1"), "hd-2": await authority.issue("hd-2") };
  });
  afterAll(async () => {
    await authority[Symbol.asyncDispose]();
  });
  afterEach(async () => {
    for (const close of closers.splice(0).reverse()) await close();
  });

  /** hd-2's server, and the port of a listener that feeds it. */
  async function serve(
    call: (request: WireRequest, leaf: Leaf, signal: AbortSignal) => Promise<WireResponse> = echo,
    reverse: (stream: ReverseStream, leaf: Leaf) => void = () => {},
  ) {
    const server = await openGrpcServer(papers["hd-2"], { call, reverse }, { log: silent });
    const sockets: Socket[] = [];
    const listener = await listen({ bind: "127.0.0.1:0", setting: "test" }, (socket) => {
      sockets.push(socket);
      server.accept(socket);
    });
    closers.push(
      () => server[Symbol.asyncDispose](),
      () => listener[Symbol.asyncDispose](),
    );
    return { server, port: listener.port, sockets };
  }

  function connect(
    port: number,
    { name = "hd-2", tls = papers["hd-1"], preface = Buffer.alloc(0), skip_verify = false } = {},
  ): GrpcConnection {
    const endpoint = { host: "127.0.0.1", port };
    const connection = new GrpcConnection({ endpoint, name }, async (socket) => {
      if (preface.length > 0) socket.write(preface);
      return await connectTls(socket, await readTls(tls), { name, skip_verify }, never);
    });
    closers.push(() => connection.close());
    return connection;
  }

  it("carries a call there and its answer back", async () => {
    const seen: Array<{ request: WireRequest; leaf: Leaf }> = [];
    const { port } = await serve(async (request, leaf) => {
      seen.push({ request, leaf });
      return await echo(request);
    });
    const params = { text: "ü", number: 1.5 };
    const response = await connect(port).call(request(params), never);
    expect(response.id).toBe("hd-2.add(1)");
    expect(fromStruct(response.result)).toEqual(params);
    expect(response.error).toBeNull();
    expect(seen[0]?.request).toMatchObject({ method: "hd-2.add", clientName: "hd-1" });
    expect(seen[0]?.leaf.names).toEqual(["hd-1", "hd-1", "*.hd-1.local"]);
    expect(seen[0]?.leaf.fingerprint).toMatch(/^[0-9a-f]{64}$/);
  });

  it("carries many calls at once over one connection", async () => {
    const { port, sockets } = await serve();
    const connection = connect(port);
    const numbers = Array.from({ length: 50 }, (_, index) => index);
    const answers = await Promise.all(
      numbers.map((number) => connection.call(request({ number }), never)),
    );
    expect(answers.map(({ result }) => fromStruct(result)["number"])).toEqual(numbers);
    expect(sockets.length).toBe(1);
  });

  describe("tells the caller", () => {
    it("what went wrong at the callee", async () => {
      const { port } = await serve(async () => {
        throw new Fault("not_found", "no such thing", { cause: new Error("secret") });
      });
      await expect(connect(port).call(request(), never)).rejects.toMatchObject({
        fault: "failed",
        message: "error handling gRPC request: no such thing",
      });
    });

    it("nothing about a bug of the callee", async () => {
      const { port } = await serve(async () => {
        throw new Error("the password is 1234");
      });
      await expect(connect(port).call(request(), never)).rejects.toMatchObject({
        fault: "failed",
        message: "error handling gRPC request: internal error",
      });
    });

    it("that nobody listens there", async () => {
      const { port } = await serve();
      for (const close of closers.splice(0).reverse()) await close();
      const connection = connect(port);
      const fault = { fault: "unreachable" };
      await expect(connection.call(request(), never)).rejects.toMatchObject(fault);
      expect(connection.usable).toBe(false);
    });

    it("that the connection broke under the call", async () => {
      const { port, sockets } = await serve(async () => {
        for (const socket of sockets) socket.resetAndDestroy();
        return await new Promise<WireResponse>(() => {});
      });
      const connection = connect(port);
      const fault = { fault: "unreachable" };
      await expect(connection.call(request(), never)).rejects.toMatchObject(fault);
      await until(() => !connection.usable, "the connection is given up");
    });

    it("that the request is too large", async () => {
      let called = false;
      const { port } = await serve(async (request) => {
        called = true;
        return await echo(request);
      });
      const connection = connect(port);
      const large = request({ text: "x".repeat(4 * MIB) });
      await expect(connection.call(large, never)).rejects.toMatchObject({ fault: "too_large" });
      expect(called).toBe(false);
      const nearly = request({ text: "x".repeat(4 * MIB - 200) });
      expect((await connection.call(nearly, never)).id).toBe("hd-2.add(1)");
    });

    it("that the answer is too large", async () => {
      const { port } = await serve(async ({ id }) => ({
        id,
        result: toStruct({ text: "x".repeat(4 * MIB) }),
      }));
      const fault = { fault: "too_large" };
      await expect(connect(port).call(request(), never)).rejects.toMatchObject(fault);
    });
  });

  it("tells the callee that the caller gave up", async () => {
    const signals: AbortSignal[] = [];
    const { port } = await serve(async (_, __, signal) => {
      signals.push(signal);
      await aborted(signal);
      throw signal.reason;
    });
    const hangUp = new AbortController();
    const call = connect(port).call(request(), hangUp.signal);
    await until(() => signals.length === 1, "the call arrives");
    expect(signals[0]?.aborted).toBe(false);
    hangUp.abort(new Fault("timeout", "took too long"));
    await expect(call).rejects.toMatchObject({ fault: "timeout", message: "took too long" });
    await until(() => signals[0]?.aborted === true, "the callee hears of it");
  });

  it("makes no call for a signal that has aborted already", async () => {
    const { port, sockets } = await serve();
    const reason = new Fault("timeout", "too late");
    await expect(connect(port).call(request(), AbortSignal.abort(reason))).rejects.toBe(reason);
    expect(sockets).toEqual([]);
  });

  /** Splices two who say a byte first: `A` and `B`. */
  async function rendezvous(): Promise<Listener> {
    const waiting: Socket[] = [];
    const listener = await listen({ bind: "127.0.0.1:0", setting: "test" }, async (socket) => {
      socket.on("error", () => {});
      await readExactly(socket, 1, never);
      waiting.push(socket);
      const [caller, callee] = waiting;
      if (caller && callee) spliceStreams({ caller, callee });
    });
    closers.push(() => listener[Symbol.asyncDispose]());
    return listener;
  }

  it.each(["caller", "callee"])(
    "works over a socket that both sides dialled, the %s first",
    async (first) => {
      const { server } = await serve(echo, (stream) => {
        stream.on("data", (said: WireResponse) => stream.write({ ...request(), id: said.id }));
      });
      const { port } = await rendezvous();
      const dialIn = async (): Promise<void> => acceptDialled(server, port);
      if (first === "callee") await dialIn();
      const connection = connect(port, { preface: Buffer.from("A") });
      const answer = connection.call(request({ by: first }), never);
      if (first === "caller") await dialIn();

      expect(fromStruct((await answer).result)).toEqual({ by: first });
      const stream = connection.reverse().on("error", () => {});
      stream.write({ id: "1", result: toStruct({ name: "hd-1" }) });
      const [back] = (await once(stream, "data")) as [WireRequest];
      expect(back.id).toBe("1");
      stream.cancel();
    },
  );

  async function acceptDialled(server: GrpcServer, port: number): Promise<void> {
    const socket = await dial(`127.0.0.1:${port}`, never);
    socket.write("B");
    server.accept(socket);
  }

  it("refuses a server of another name [grpc 3]", async () => {
    const { port } = await serve();
    const connection = connect(port, { name: "hd-3" });
    const message = expect.stringContaining("no TLS with hd-3");
    const fault = { fault: "unreachable", message };
    await expect(connection.call(request(), never)).rejects.toMatchObject(fault);
    expect(connection.usable).toBe(false);
  });

  it("refuses a server whom another authority vouches for", async () => {
    await using stranger = await Authority.open();
    const { port } = await serve();
    const connection = connect(port, { tls: await stranger.issue("hd-1") });
    const fault = { fault: "unreachable" };
    await expect(connection.call(request(), never)).rejects.toMatchObject(fault);
  });

  it.each(["no certificate", "a stranger's certificate"])(
    "refuses a client with %s",
    async (what) => {
      await using stranger = await Authority.open();
      let called = false;
      const { port } = await serve(async (request) => {
        called = true;
        return await echo(request);
      });
      const none = what === "no certificate";
      const tls = none ? authority.nobody() : await stranger.issue("hd-1");
      const connection = connect(port, { tls, skip_verify: true });
      const fault = { fault: "unreachable" };
      await expect(connection.call(request(), never)).rejects.toMatchObject(fault);
      expect(called).toBe(false);
    },
  );

  it("never dials a second time", async () => {
    const { port, sockets } = await serve();
    const connection = connect(port);
    await connection.call(request(), never);
    expect(connection.usable).toBe(true);
    for (const socket of sockets) socket.resetAndDestroy();
    await until(() => !connection.usable, "the connection notices");
    await expect(connection.call(request(), never)).rejects.toBeInstanceOf(SpentFault);
    expect(connection.usable).toBe(false);
  });

  it("answers what is under way before the server closes", async () => {
    let arrived = false;
    let answer = (): void => {};
    const { port, server } = await serve(async (request) => {
      arrived = true;
      await new Promise<void>((resolve) => {
        answer = resolve;
      });
      return await echo(request);
    });
    const call = connect(port).call(request({ text: "late" }), never);
    await until(() => arrived, "the call arrives");
    const closing = server[Symbol.asyncDispose]();
    answer();
    expect(fromStruct((await call).result)).toEqual({ text: "late" });
    await closing;
  });
});
