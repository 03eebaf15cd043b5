import { describe, expect, it } from "vitest";
import { openMetrics } from "../../src/core/metrics.ts";
import { Readiness } from "../../src/rpc/readiness.ts";
import { openStatusServer } from "../../src/rpc/status-server.ts";

async function open(bind_address = "127.0.0.1:0") {
  const stop = new AbortController();
  const metrics = openMetrics();
  const readiness = new Readiness(stop.signal);
  const server = await openStatusServer({ bind_address }, { metrics, readiness });
  const ask = async (path: string) => {
    const response = await fetch(`http://127.0.0.1:${server.port}${path}`);
    const { status, headers } = response;
    return { status, type: headers.get("content-type") ?? "", text: await response.text() };
  };
  return { stop, readiness, server, ask };
}

describe("the status server", () => {
  it("tells on /readyz whether a call would succeed, and goes on living while it would not", async () => {
    const { stop, readiness, server, ask } = await open();
    await using _ = server;
    const seen = async () => [(await ask("/readyz")).status, (await ask("/healthz")).status];
    expect(await seen()).toEqual([503, 200]);
    readiness.opened();
    expect(await seen()).toEqual([200, 200]);
    stop.abort();
    expect(await seen()).toEqual([503, 200]);
    expect(JSON.parse((await ask("/readyz")).text)).toEqual({
      ready: false,
      checks: { running: { ok: false, why: "the program is stopping" } },
    });
  });

  it.each(["/metrics", "/", "/any/other?path"])("has metrics on %s", async (path) => {
    const { server, ask } = await open();
    await using _ = server;
    const { status, type, text } = await ask(path);
    expect([status, type]).toEqual([200, "text/plain; version=0.0.4; charset=utf-8"]);
    expect(text).toMatch(/^process_cpu_seconds_total \d/m);
  });

  it("may be opened twice in one process, with metrics of their own", async () => {
    const [one, other] = [await open(), await open()];
    await using _ = one.server;
    await using __ = other.server;
    expect((await one.ask("/metrics")).status).toBe(200);
    expect((await other.ask("/metrics")).status).toBe(200);
  });

  it("says which setting names an address that is taken", async () => {
    const { server } = await open();
    await using _ = server;
    await expect(open(`127.0.0.1:${server.port}`)).rejects.toThrow(/metrics: bind_address/);
  });
});
