import { connect } from "node:net";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { silent } from "../../src/core/log.ts";
import { openMetrics } from "../../src/core/metrics.ts";
import { connectTls, readTls } from "../../src/net/tls.ts";
import { RpcEvents } from "../../src/rpc/events.ts";
import { openGrpcServer } from "../../src/rpc/grpc/server.ts";
import { openJsonrpcServer } from "../../src/rpc/jsonrpc/server.ts";
import type { JsonrpcServerSettings } from "../../src/rpc/settings.ts";
import { Authority } from "../support/certificates.ts";
import { call, echo } from "../support/jsonrpc-servers.ts";
import { samples } from "../support/metrics.ts";
import { until } from "../support/until.ts";
import { Wires } from "../support/wires.ts";

describe("what listeners tell of", () => {
  const cleanup: Array<() => unknown> = [];
  let authority: Authority;
  beforeAll(async () => {
    authority = await Authority.open();
  });
  afterEach(async () => {
    for (const each of cleanup.splice(0).reverse()) await each();
  });
  afterAll(() => authority[Symbol.asyncDispose]());

  function open() {
    const metrics = openMetrics();
    const events = new RpcEvents({ log: silent, metrics });
    const seen = async (name: string) => samples(await metrics.metrics()).get(`eps_broker_${name}`);
    const becomes = (name: string, value: number) =>
      until(async () => (await seen(name)) === value, `${name} is ${value}`);
    return { metrics, events, becomes };
  }

  async function server(more: Partial<JsonrpcServerSettings> = {}) {
    const { metrics, events, becomes } = open();
    const settings = { bind_address: "127.0.0.1:0", path: "/jsonrpc", body_max: 1_000, ...more };
    const told = { events, listener: "gateway" } as const;
    const deps = { serve: echo, log: silent, setting: "test", told };
    const { port, ...listener } = await openJsonrpcServer(settings, deps);
    cleanup.push(() => listener[Symbol.asyncDispose]());
    return { port, metrics, becomes };
  }

  it("counts JSON-RPC requests by the class of their status, whatever their method (T23)", async () => {
    const { port, metrics, becomes } = await server();
    const post = async (body: string, path = "jsonrpc") => {
      const headers = { "content-type": "application/json" };
      const url = `http://127.0.0.1:${port}/${path}`;
      await (await fetch(url, { method: "POST", headers, body })).text();
    };
    await post(call());
    await post("no JSON");
    const requests = (status: string) =>
      `jsonrpc_requests_total{listener="gateway",status="${status}"}`;
    await becomes(requests("2xx"), 1);
    await becomes(requests("4xx"), 1);
    const before = [...samples(await metrics.metrics()).keys()];

    for (let index = 0; index < 200; index += 1) {
      await post(call({ method: `hostile-${index}.name-${index}` }), "jsonrpc");
      await post("x".repeat(index * 10), `jsonrpc-${index}`);
    }
    await becomes(requests("2xx"), 201);
    await becomes(requests("4xx"), 201);
    expect([...samples(await metrics.metrics()).keys()]).toEqual(before);
  });

  it("counts handshakes that fail at a JSON-RPC server", async () => {
    const { port, becomes } = await server({ tls: await authority.issue("hd-1") });
    const socket = connect(port, "127.0.0.1").on("error", () => {});
    cleanup.push(() => socket.destroy());
    socket.write("this is no ClientHello\r\n\r\n");
    await becomes('tls_handshake_failures_total{listener="gateway"}', 1);
  });

  it("counts handshakes at a gRPC server that succeed, with their time, and that fail", async () => {
    const { events, becomes } = open();
    const grpc = await openGrpcServer(
      await authority.issue("hd-2"),
      { call: async () => ({ id: "" }), reverse: () => {} },
      { log: silent, events },
    );
    const wires = await Wires.open();
    cleanup.push(
      () => wires[Symbol.asyncDispose](),
      () => grpc[Symbol.asyncDispose](),
    );
    const [good, bad] = [await wires.connect(), await wires.connect()];
    for (const { accepted } of [good, bad]) grpc.accept(accepted);
    bad.dialled.write("this is no ClientHello\r\n\r\n");
    const material = await readTls(await authority.issue("hd-1"));
    const who = { name: "hd-2", skip_verify: false };
    await connectTls(good.dialled, material, who, new AbortController().signal);
    await becomes('tls_handshake_failures_total{listener="grpc"}', 1);
    await becomes('tls_handshake_duration_seconds_count{listener="grpc"}', 1);
  });
});
