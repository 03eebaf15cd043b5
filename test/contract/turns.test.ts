import { afterEach, describe, expect, it } from "vitest";
import type { Call } from "../../src/broker/channel.ts";
import { JsonrpcClientChannel } from "../../src/broker/channels/jsonrpc-client.ts";
import { openGateway } from "../../src/broker/channels/jsonrpc-server.ts";
import { Later } from "../../src/broker/later.ts";
import { GatewaySettings, ServiceSettings } from "../../src/broker/settings.ts";
import { Timings } from "../../src/broker/timings.ts";
import { silent } from "../../src/core/log.ts";
import { JsonrpcClient } from "../../src/rpc/jsonrpc/client.ts";
import type { Answer } from "../../src/wire/answer.ts";
import { hd2Broker } from "../support/broker.ts";
import { Authority } from "../support/certificates.ts";
import { MemoryDirectory, operator } from "../support/directory.ts";
import { JsonrpcServers, type Serve } from "../support/jsonrpc-servers.ts";
import { until } from "../support/until.ts";

const never = new AbortController().signal;
const later = () => new Later({ respond_timeout_ms: 60_000 }, never);

describe("calls that have to wait", () => {
  const servers = new JsonrpcServers();
  const closers: Array<() => unknown> = [];
  afterEach(async () => {
    for (const close of closers.splice(0).reverse()) await close();
    await servers[Symbol.asyncDispose]();
  });

  it("for a slow service take turns by the operators that call", async () => {
    const asked: Array<{ id: string; answer(answer: Answer): void }> = [];
    const slow: Serve = ({ id }) => new Promise((answer) => asked.push({ id: `${id}`, answer }));
    const { port } = await servers.open({}, slow);
    const settings = ServiceSettings.parse({
      endpoint: `http://127.0.0.1:${port}/jsonrpc`,
      calls_max: 1,
      waiting_max: 3,
    });
    const deps = { self: "hd-2", later: later(), log: silent };
    const channel = await JsonrpcClientChannel.open(settings, deps);
    closers.push(() => channel[Symbol.asyncDispose]());
    const call = (name: string, id: string): Promise<Answer> => {
      const caller = { name, entry: operator(name), source: name };
      const address = { operator: "hd-2", method: "add", call: id };
      const call: Call = { address, params: {}, caller, timings: new Timings() };
      return channel.deliver(call, never);
    };

    const calls = [call("hd-1", "1"), call("hd-1", "2"), call("hd-1", "3"), call("lab-1", "4")];
    expect(channel.waiting).toBe(3);
    await expect(call("hd-1", "5")).rejects.toMatchObject({ fault: "overloaded" });
    for (let n = 0; n < calls.length; n += 1) {
      await until(() => asked.length === n + 1, "the next call arrives");
      asked[n]?.answer({ result: n });
    }
    await Promise.all(calls);
    const order = asked.map(({ id }) => id);
    expect(order).toEqual(["1", "2", "4", "3"].map((id) => `hd-2.add(${id})`));
  });

  it("are known by the certificate of the client that handed them in", async () => {
    await using authority = await Authority.open();
    const broker = hd2Broker(new MemoryDirectory(operator("hd-2"), operator("lab-1")));
    const sources: string[] = [];
    broker.add({
      type: "test",
      reaches: (name) => name === "lab-1",
      deliver: async ({ caller }) => {
        sources.push(caller.source);
        return { result: caller.name };
      },
    });
    const tls = await authority.issue("hd-2");
    const settings = GatewaySettings.parse({ bind_address: "127.0.0.1:0", tls });
    const directory = new MemoryDirectory(operator("hd-2"));
    const deps = { self: "hd-2", broker, directory, later: later(), log: silent };
    const gateway = await openGateway(settings, deps);
    closers.push(() => gateway[Symbol.asyncDispose]());
    for (const name of ["hd-2", "app", "app"]) {
      await using client = await JsonrpcClient.open({
        endpoint: `https://127.0.0.1:${gateway.port}/jsonrpc`,
        local: true,
        tls: { ...(await authority.issue(name)), server_name: "hd-2" },
      });
      const answer = await client.call({ method: "lab-1.add", params: {} });
      expect(answer).toEqual({ result: "hd-2" });
    }
    expect(sources).toHaveLength(3);
    expect(new Set(sources).size).toBe(3);
    expect(sources.map((source) => source.replace(/^[0-9a-f]{64}@/, ""))).toEqual([
      "127.0.0.1",
      "127.0.0.1",
      "127.0.0.1",
    ]);
  });
});
