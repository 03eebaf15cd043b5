import { X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { createSecureServer, constants as h2, type ServerHttp2Stream } from "node:http2";
import type { AddressInfo, Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import type { MethodDefinition } from "@grpc/grpc-js";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { Peers } from "../../src/broker/peers.ts";
import { Timings } from "../../src/broker/timings.ts";
import { Deadline } from "../../src/core/deadline.ts";
import { Fault } from "../../src/core/fault.ts";
import { silent } from "../../src/core/log.ts";
import { listen } from "../../src/net/listen.ts";
import { readPem } from "../../src/net/pem.ts";
import { readExactly } from "../../src/net/read-hello.ts";
import type { TlsSettings } from "../../src/net/settings.ts";
import { leafOf, readTls } from "../../src/net/tls.ts";
import { UnansweredFault } from "../../src/rpc/grpc/client.ts";
import { Eps, type WireRequest, type WireResponse } from "../../src/rpc/grpc/messages.ts";
import { openGrpcServer } from "../../src/rpc/grpc/server.ts";
import { toStruct } from "../../src/wire/struct.ts";
import { Authority } from "../support/certificates.ts";
import { grpcServer, MemoryDirectory, operator } from "../support/directory.ts";
import { until } from "../support/until.ts";

const TOKEN_SIZE = 32;
const never = new AbortController().signal;
const CALL = Eps.service["Call"] as MethodDefinition<WireRequest, WireResponse>;
type Handler = (request: WireRequest, signal: AbortSignal) => Promise<WireResponse>;
const echo: Handler = async ({ id, params }) => ({ id, result: params });
const silence: Handler = () => new Promise<WireResponse>(() => {});

describe("the connection to another operator", () => {
  let authority: Authority;
  let papers: Record<"hd-1" | "hd-2" | "hd-3", TlsSettings>;
  const closers: Array<() => unknown> = [];

  beforeAll(async () => {
    authority = await Authority.open();
    const [hd1, hd2, hd3] = await Promise.all(
      ["hd-1", "hd-2", "hd-3"].map((name) => authority.issue(name)),
    );
    papers = { "hd-1": hd1, "hd-2": hd2, "hd-3": hd3 } as typeof papers;
  });
  afterAll(async () => {
    await authority[Symbol.asyncDispose]();
  });
  afterEach(async () => {
    for (const close of closers.splice(0).reverse()) await close();
  });

  async function entry(name: keyof typeof papers, port: number) {
    const pem = await readPem(`${papers[name].certificate_file}`);
    const fingerprint = `${leafOf(new X509Certificate(pem).toLegacyObject())?.fingerprint}`;
    return operator(name, {
      channels: [grpcServer({ address: `127.0.0.1:${port}` })],
      certificates: [{ fingerprint, key_usage: "encryption" }],
    });
  }

  /** An operator of ours, its port, and the sockets that came in. */
  async function serve(name: "hd-2" | "hd-3", call: Handler = echo) {
    const handlers = {
      call: (request: WireRequest, _: unknown, signal: AbortSignal) => call(request, signal),
      reverse: () => {},
    };
    const server = await openGrpcServer(papers[name], handlers, { log: silent });
    const sockets: Socket[] = [];
    const listener = await listen({ bind: "127.0.0.1:0", setting: "test" }, (socket) => {
      sockets.push(socket);
      server.accept(socket);
    });
    closers.push(
      () => server[Symbol.asyncDispose](),
      () => listener[Symbol.asyncDispose](),
    );
    return { port: listener.port, sockets, accept: (socket: Socket) => server.accept(socket) };
  }

  /** hd-1's connections to them. */
  async function peers(
    ports: Partial<Record<"hd-2" | "hd-3", number>>,
    { idle_timeout_ms = 50_000, calls_max = 100, waiting_max = 100 } = {},
  ) {
    const entries = Object.entries(ports).map(([name, port]) => entry(name as "hd-2", port));
    const directory = new MemoryDirectory(...(await Promise.all(entries)));
    const tls = await readTls(papers["hd-1"]);
    const limits = { idle_timeout_ms, calls_max, waiting_max };
    const options = { self: "hd-1", use_proxy: true, skip_verify: false, tls, ...limits };
    const open = new Peers(options, { directory, log: silent });
    closers.push(() => open[Symbol.asyncDispose]());
    let id = 0;
    const call = (to: string, { source = "us", signal = never } = {}) => {
      id += 1;
      const address = { operator: to, method: "add", call: `${id}` };
      return open.call({ ...address, params: { id }, timings: new Timings(), source }, signal);
    };
    return { peers: open, directory, call };
  }

  it("is closed when it has been idle for the time that the settings say", async () => {
    const { port, sockets } = await serve("hd-2");
    const { call, peers: open } = await peers({ "hd-2": port }, { idle_timeout_ms: 20 });
    await call("hd-2");
    await until(() => open.list().length === 0, "the connection is closed");
    await until(() => sockets[0]?.destroyed === true, "the other side sees it closed");
    await call("hd-2");
    expect(sockets).toHaveLength(2);
  });

  it("is replaced by another for the next call if it broke while it was idle", async () => {
    const { port, sockets } = await serve("hd-2");
    const { call, peers: open } = await peers({ "hd-2": port });
    await call("hd-2");
    for (const socket of sockets) socket.resetAndDestroy();
    await until(() => open.list().length === 0, "the connection is known to be gone");
    expect(await call("hd-2")).toEqual({ result: { id: 2 } });
    expect(sockets).toHaveLength(2);
  });

  it("goes on with its calls when the directory names another way, and new ones take that", async () => {
    let answer = (): void => {};
    let arrived = false;
    const old = await serve("hd-2", async (request) => {
      arrived = true;
      await new Promise<void>((resolve) => {
        answer = resolve;
      });
      return await echo(request, never);
    });
    const moved = await serve("hd-2");
    const { call, directory } = await peers({ "hd-2": old.port });
    const slow = call("hd-2");
    await until(() => arrived, "the call arrives");
    directory.set(await entry("hd-2", moved.port));
    expect(await call("hd-2")).toEqual({ result: { id: 2 } });
    expect(moved.sockets).toHaveLength(1);
    answer();
    expect(await slow).toEqual({ result: { id: 1 } });
    await until(() => old.sockets[0]?.destroyed === true, "the old connection is closed");
  });

  it("never answers, and only those who call it wait", async () => {
    const slow = await serve("hd-2", silence);
    const quick = await serve("hd-3");
    const limits = { calls_max: 2, waiting_max: 3 };
    const { call, peers: open } = await peers({ "hd-2": slow.port, "hd-3": quick.port }, limits);
    const hangUp = new AbortController();
    const { signal } = hangUp;
    const calls = Array.from({ length: 5 }, () => call("hd-2", { signal }));
    const ended = Promise.allSettled(calls);
    await until(() => open.waiting === 3, "three calls wait");
    await expect(call("hd-2", { signal })).rejects.toMatchObject({ fault: "overloaded" });
    expect(await call("hd-3")).toMatchObject({ result: {} });

    using deadline = new Deadline(20, "the call", signal);
    const late = call("hd-2", { signal: deadline.signal, source: "another" });
    await expect(late).rejects.toMatchObject({ fault: "timeout" });
    const reason = new Fault("unreachable", "the caller hung up");
    hangUp.abort(reason);
    const refused = (await ended).filter(({ status }) => status === "rejected");
    expect(refused).toHaveLength(5);
    expect(open.waiting).toBe(0);
  });

  describe("behind a proxy that was asked before", () => {
    /** A relay of hd-3, which brings whoever shows a token to hd-2, and the connections that came. */
    async function relay(hd2: { accept(socket: Socket): void }) {
      const sockets: Socket[] = [];
      const { port, [Symbol.asyncDispose]: close } = await listen(
        { bind: "127.0.0.1:0", setting: "test" },
        (socket) => {
          sockets.push(socket);
          socket.on("error", () => {});
          void readExactly(socket, TOKEN_SIZE, never).then(
            () => hd2.accept(socket),
            () => socket.destroy(),
          );
        },
      );
      closers.push(close);
      return { endpoint: `127.0.0.1:${port}`, sockets };
    }

    /** `asked` says where hd-3 relays the second time, when a first call has gone through `first`. */
    async function asking(
      asked: (relays: Array<Awaited<ReturnType<typeof relay>>>) => Promise<string>,
    ) {
      const hd2 = await serve("hd-2");
      const relays = [await relay(hd2), await relay(hd2)];
      let times = 0;
      const hd3 = await serve("hd-3", async ({ id }) => {
        times += 1;
        const endpoint = times === 1 ? `${relays[0]?.endpoint}` : await asked(relays);
        const token = Buffer.alloc(TOKEN_SIZE, times).toString("base64");
        return { id, result: toStruct({ endpoint, token, lasting: true }) };
      });
      const { call, peers: open, directory } = await peers({ "hd-3": hd3.port });
      const { certificates } = await entry("hd-2", hd2.port);
      const channels = [grpcServer({ address: "nowhere:1", proxy: "hd-3" })];
      directory.set(operator("hd-2", { channels, certificates }));
      expect(await call("hd-2")).toEqual({ result: { id: 1 } });
      relays[0]?.sockets[0]?.resetAndDestroy();
      await until(() => open.list().length === 1, "only the connection to the proxy is left");
      expect(await call("hd-2")).toEqual({ result: { id: 2 } });
      return relays.map(({ sockets }) => sockets);
    }

    it("is dialled there while the proxy is asked again", async () => {
      const [there] = await asking(async ([first]) => {
        await until(() => first?.sockets.length === 2, "it is dialled already");
        return first?.endpoint ?? "";
      });
      expect(there).toHaveLength(2);
    });

    it("is dialled elsewhere if the proxy says so, and the connection there is given up", async () => {
      const [there, elsewhere] = await asking(async ([first, second]) => {
        await until(() => first?.sockets.length === 2, "it is dialled where it was");
        return second?.endpoint ?? "";
      });
      expect(elsewhere).toHaveLength(1);
      await until(() => there?.[1]?.destroyed === true, "the first is given up");
      expect(there?.[1]?.bytesRead).toBe(0);
    });

    it("is dialled again if nobody waited there until the proxy had answered", async () => {
      const [there] = await asking(async ([first]) => {
        await until(() => first?.sockets.length === 2, "it is dialled already");
        for (const socket of first?.sockets ?? []) socket.destroy();
        await sleep(50);
        return first?.endpoint ?? "";
      });
      expect(there?.length).toBeGreaterThan(2);
    });
  });

  describe("tries a call once more that", () => {
    /** hd-2 as a bare HTTP/2 server, whose streams get what `scripts` say, one after the other, then an echo. */
    async function scripted(...scripts: Array<(stream: ServerHttp2Stream) => void>) {
      const { certificate_file, key_file } = papers["hd-2"];
      const file = (name: string | undefined): string => readFileSync(`${name}`, "utf8");
      const server = createSecureServer({ cert: file(certificate_file), key: file(key_file) });
      let connections = 0;
      let calls = 0;
      server.on("secureConnection", (socket) => {
        connections += 1;
        closers.push(() => socket.destroy());
      });
      server.on("sessionError", () => {});
      server.on("stream", (stream) => {
        stream.on("error", () => {});
        const script = scripts[calls] ?? answer;
        calls += 1;
        script(stream);
      });
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
      closers.push(() => server.close());
      const { port } = server.address() as AddressInfo;
      return { port, seen: () => ({ connections, calls }) };
    }

    function answer(stream: ServerHttp2Stream): void {
      const message = CALL.responseSerialize({ id: "hd-2.add(1)" });
      const head = Buffer.alloc(5);
      head.writeUInt32BE(message.length, 1);
      stream.respond({ "content-type": "application/grpc" }, { waitForTrailers: true });
      stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
      stream.end(Buffer.concat([head, message]));
    }

    const refuse = (stream: ServerHttp2Stream): void => stream.close(h2.NGHTTP2_REFUSED_STREAM);
    /** Says that nothing after the first stream was looked at. */
    const goAway = (stream: ServerHttp2Stream): void =>
      stream.session?.goaway(h2.NGHTTP2_NO_ERROR, 1);
    const taken = (stream: ServerHttp2Stream, then: () => void): void => {
      stream.on("data", then);
    };

    it("the other side refused, by another connection", async () => {
      const { port, seen } = await scripted(refuse);
      const { call } = await peers({ "hd-2": port });
      expect(await call("hd-2")).toEqual({ result: {} });
      expect(seen()).toEqual({ connections: 2, calls: 2 });
    });

    it("but not twice more", async () => {
      const { port, seen } = await scripted(refuse, refuse);
      const { call } = await peers({ "hd-2": port });
      await expect(call("hd-2")).rejects.toMatchObject({ fault: "unreachable" });
      expect(seen().calls).toBe(2);
    });

    it("came when the other side was closing the connection", async () => {
      const { port, seen } = await scripted(answer, goAway);
      const { call } = await peers({ "hd-2": port });
      await call("hd-2");
      expect(await call("hd-2")).toEqual({ result: {} });
      expect(seen()).toEqual({ connections: 2, calls: 3 });
    });

    it.each<[string, (stream: ServerHttp2Stream) => void]>([
      [
        "nobody knows of whether it ran: reset",
        (stream) => {
          taken(stream, () => stream.close(h2.NGHTTP2_INTERNAL_ERROR));
        },
      ],
      [
        "nobody knows of whether it ran: its connection is cut",
        (stream) => {
          taken(stream, () => stream.session?.destroy());
        },
      ],
    ])("but none that %s", async (_, script) => {
      const { port, seen } = await scripted(script);
      const { call } = await peers({ "hd-2": port });
      await expect(call("hd-2")).rejects.toBeInstanceOf(Fault);
      expect(seen().calls).toBe(1);
    });

    it("but none that was under way when its connection was closing, and then cut", async () => {
      let cut = (): void => {};
      const { port, seen } = await scripted(answer, (stream) => {
        cut = () => stream.session?.destroy();
        taken(stream, () => stream.session?.goaway(h2.NGHTTP2_NO_ERROR, 2 ** 31 - 1));
      });
      const { call } = await peers({ "hd-2": port });
      await call("hd-2");
      const first = call("hd-2");
      const told = expect(first).rejects.toBeInstanceOf(UnansweredFault);
      await until(() => seen().calls === 2, "the call arrives");
      await until(async () => {
        await call("hd-2");
        return seen().connections === 2;
      }, "new calls take another connection");
      const { calls } = seen();
      cut();
      await told;
      expect(seen().calls).toBe(calls);
    });
  });
});
