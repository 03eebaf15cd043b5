import { describe, expect, it } from "vitest";
import { silent } from "../../../src/core/log.ts";
import { openMetrics } from "../../../src/core/metrics.ts";
import { RelayEvents } from "../../../src/relay/events.ts";
import type { Ending } from "../../../src/relay/leg.ts";
import { samples } from "../../support/metrics.ts";

function open() {
  const metrics = openMetrics();
  const events = new RelayEvents({ log: silent, metrics });
  return { events, look: async () => samples(await metrics.metrics()) };
}

function story(more: { caller?: string; waited_ms?: number } = {}) {
  return {
    circuit: "k3VvS5oQ0c1R",
    door: "token" as const,
    names: { caller: more.caller ?? "hd-1", callee: "hd-2", request: "r1" },
    waited_ms: more.waited_ms ?? 6,
    opened_at: performance.now() - 5_000,
    splice: { bytes: { caller: 0, callee: 0 } },
  };
}

describe("what the relay tells of", () => {
  it("counts a circuit while it is open, and by its ending when it is over", async () => {
    const { events, look } = open();
    const [one, other] = [story({ waited_ms: 300 }), story()];
    events.circuitOpened(one);
    events.circuitOpened(other);
    expect((await look()).get('eps_broker_circuits_open{door="token"}')).toBe(2);

    events.circuitEnded(one, { ending: "idle", by: "us", bytes: one.splice.bytes }, "bytes");
    const seen = await look();
    expect(seen.get('eps_broker_circuits_open{door="token"}')).toBe(1);
    expect(seen.get('eps_broker_circuits_total{door="token",ending="idle"}')).toBe(1);
    const waited = 'eps_broker_rendezvous_wait_seconds_bucket{le="0.25",door="token"}';
    expect(seen.get(waited)).toBe(1);
    const lasted = (le: string) =>
      seen.get(`eps_broker_circuit_duration_seconds_bucket{le="${le}",door="token"}`);
    expect([lasted("1"), lasted("10")]).toEqual([0, 1]);
  });

  it("shows bytes before their circuit is over, and once only after that", async () => {
    const { events, look } = open();
    const live = story();
    events.circuitOpened(live);
    live.splice.bytes.caller = 1_000;
    const moved = async () =>
      (await look()).get('eps_broker_circuit_bytes_total{door="token",from="caller"}');
    expect(await moved()).toBe(1_000);
    live.splice.bytes.caller = 1_500;
    expect(await moved()).toBe(1_500);
    events.circuitEnded(live, { ending: "done", by: "caller", bytes: live.splice.bytes }, "bytes");
    expect(await moved()).toBe(1_500);
    expect(await moved()).toBe(1_500);
  });

  it("has as many series for a thousand hostile names as for one (T23)", async () => {
    const { events, look } = open();
    const endings: Ending[] = ["done", "broken", "idle", "limit", "shutdown"];
    const live = (caller: string): void => {
      for (const ending of endings) {
        const each = story({ caller });
        events.circuitOpened(each);
        events.circuitEnded(each, { ending, by: "us", bytes: each.splice.bytes }, "bytes");
      }
      events.lonely({ caller, callee: caller, request: caller });
      events.turnedAway("sni", "unknown", { domain: caller });
      events.turnedAway("sni", "unreachable", { caller, reason: caller });
    };
    live("hd-1");
    const before = [...(await look()).keys()];
    for (let index = 0; index < 1_000; index += 1) live(`name-${index}"\n{}\\`);
    expect([...(await look()).keys()]).toEqual(before);
  });
});
