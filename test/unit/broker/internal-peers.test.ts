import { describe, expect, it } from "vitest";
import type { ConnectedPeer } from "../../../src/broker/connected-peer.ts";
import { answerInternally } from "../../../src/broker/internal.ts";
import { Later } from "../../../src/broker/later.ts";
import { hd2Broker } from "../../support/broker.ts";
import { MemoryDirectory, operator, service } from "../../support/directory.ts";

const never = new AbortController().signal;
const since = "2026-01-01T00:00:00.000Z";
const peer = (more: Partial<ConnectedPeer>): ConnectedPeer => ({
  operator: "proxy-1",
  way: "dialled",
  proxy: "",
  since,
  calls: 0,
  ...more,
});

/** What hd-2 answers to somebody who calls its `_peers`. */
async function answer(caller: string, ...connected: ConnectedPeer[]) {
  const directory = new MemoryDirectory(
    operator("hd-1", { groups: ["health-departments"] }),
    operator("hd-2", {
      services: [service("*", "_ping"), service("watchers", "_peers")],
    }),
    operator("eye-1", { groups: ["watchers"] }),
  );
  const broker = hd2Broker(directory);
  const later = new Later({ respond_timeout_ms: 1_000 }, never);
  const deps = { self: "hd-2", version: "1", directory, later, connected: () => connected };
  answerInternally(broker, deps);
  const address = { operator: "hd-2", method: "_peers", call: "1" };
  return await broker.deliver({ address, params: {}, caller }, never);
}

describe("_peers", () => {
  it("tells the operator itself who is connected, by name", async () => {
    const [a, b] = [peer({ operator: "b" }), peer({ operator: "a", way: "reverse_in" })];
    expect(await answer("hd-2", a, b)).toEqual({ result: { peers: [b, a] } });
  });

  it("does not count the reverse stream as a call of the connection that carries it", async () => {
    const dialled = peer({ calls: 3 });
    const stream = peer({ way: "reverse_out", calls: 1 });
    expect(await answer("hd-2", dialled, stream)).toEqual({
      result: { peers: [{ ...dialled, calls: 2 }, stream] },
    });
    expect(await answer("hd-2", dialled)).toEqual({ result: { peers: [dialled] } });
  });

  it("tells others only if the directory lets them ask", async () => {
    expect(await answer("hd-1", peer({}))).toMatchObject({ error: { code: 403 } });
    expect(await answer("eye-1", peer({}))).toEqual({ result: { peers: [peer({})] } });
  });
});
