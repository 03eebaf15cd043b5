import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import type { Log } from "../../../src/core/log.ts";
import { openMetrics } from "../../../src/core/metrics.ts";
import { Circuits } from "../../../src/relay/circuits.ts";
import { RelayEvents } from "../../../src/relay/events.ts";
import { openStreamEngine } from "../../../src/relay/stream/engine.ts";
import { circuitLimits } from "../../support/engines.ts";
import { until } from "../../support/until.ts";
import { Ear, type Wire, Wires } from "../../support/wires.ts";

type Line = { level: string; message: string } & Record<string, unknown>;

/** A log that keeps its lines. */
function keepingLog(): { log: Log; lines: Line[] } {
  const lines: Line[] = [];
  const keep =
    (level: string) =>
    (fields: object, message: string): void => {
      lines.push({ ...fields, level, message });
    };
  return { log: { info: keep("info"), warn: keep("warn") } as unknown as Log, lines };
}

const GENEROUS = circuitLimits();

const engine = openStreamEngine();
const line = ({ accepted }: Wire) => engine.adopt(accepted, new AbortController().signal);

describe("the circuits", () => {
  let wires: Wires;
  const opened: Circuits[] = [];
  beforeAll(async () => {
    wires = await Wires.open();
  });
  afterEach(async () => {
    vi.useRealTimers();
    wires.hangUp();
    for (const circuits of opened.splice(0)) await circuits[Symbol.asyncDispose]();
  });
  afterAll(async () => {
    await wires[Symbol.asyncDispose]();
  });

  function open(settings: Partial<typeof GENEROUS> = {}) {
    const { log, lines } = keepingLog();
    const metrics = openMetrics();
    const events = new RelayEvents({ log, metrics });
    const circuits = new Circuits({ ...GENEROUS, ...settings }, { engine, events });
    opened.push(circuits);
    const add = async (waited_ms = 0) => {
      const [caller, callee] = [await wires.connect(), await wires.connect()];
      void circuits.add({
        names: { caller: "hd-1", callee: "hd-2", request: "r1" },
        legs: {
          caller: { door: "token", line: await line(caller), arrived_at: 1_000 + waited_ms },
          callee: { door: "token", line: await line(callee), arrived_at: 1_000 },
        },
      });
      const ears = { caller: new Ear(caller.dialled), callee: new Ear(callee.dialled) };
      return { caller: caller.dialled, callee: callee.dialled, ears };
    };
    const records = (): Line[] =>
      lines.filter(({ message }) => message.startsWith("circuit ended"));
    const record = async (count = 1): Promise<Line | undefined> => {
      await until(() => records().length >= count, `${count} circuits have ended`);
      return records()[count - 1];
    };
    return { circuits, add, lines, record };
  }

  it("tell one story each, when they end", async () => {
    const { circuits, add, lines, record } = open();
    const { caller, callee, ears } = await add(250);
    expect(circuits.open).toBe(1);
    caller.end("ping!");
    await ears.callee.hearsTheEnd();
    callee.end("pong");

    const told = await record();
    expect(told).toEqual({
      level: "info",
      message: "circuit ended",
      circuit: expect.stringMatching(/^[\w-]{12}$/),
      request: "r1",
      door: "token",
      caller: "hd-1",
      callee: "hd-2",
      waited_ms: 250,
      lasted_ms: expect.any(Number),
      ending: "done",
      by: "caller",
      bytes_from_caller: 5,
      bytes_from_callee: 4,
    });
    expect(lines.map(({ message }) => message)).toEqual(["circuit open", "circuit ended"]);
    expect(lines[0]).toMatchObject({ circuit: told?.["circuit"] });
    expect(circuits.open).toBe(0);
  });

  it("tell who broke off", async () => {
    const { add, record } = open();
    const { callee, ears } = await add();
    callee.write("half an ans");
    await ears.caller.hears(11);
    callee.resetAndDestroy();
    expect(await record()).toMatchObject({ ending: "broken", by: "callee", bytes_from_callee: 11 });
    expect(await ears.caller.hearsTheEnd()).toBe("ECONNRESET");
  });

  it("end when nothing moves for too long, and not before", async () => {
    const { circuits, add, record } = open({ idle_timeout_ms: 500 });
    const quiet = await add();
    const busy = await add();
    await until(() => {
      busy.caller.write("x");
      return quiet.ears.caller.ending !== undefined;
    }, "the quiet one is ended");
    expect(await record()).toMatchObject({ ending: "idle", by: "us", bytes_from_caller: 0 });
    expect(await quiet.ears.callee.hearsTheEnd()).toBe("ECONNRESET");
    expect(circuits.open).toBe(1);
    busy.callee.write("alive");
    await busy.ears.caller.hears(5);
  });

  it("are not more than the limit says", async () => {
    const { circuits, add, record } = open({ circuits_max: 1 });
    const first = await add();
    const second = await add();
    expect(await second.ears.caller.hearsTheEnd()).toBe("ECONNRESET");
    expect(await second.ears.callee.hearsTheEnd()).toBe("ECONNRESET");
    const told = { level: "warn", ending: "limit", limit: "circuits", by: "us" };
    expect(await record()).toMatchObject(told);
    expect((await record())?.message).toContain("raise circuits_max");

    first.caller.write("fine");
    await first.ears.callee.hears(4);
    first.caller.end();
    first.callee.end();
    await until(() => circuits.open === 0, "there is room again");
    const third = await add();
    third.callee.write("fine, too");
    await third.ears.caller.hears(9);
  });

  it.each([
    ["bytes", { circuit_bytes_max: 10 }, "raise circuit_bytes_max"],
    ["duration", { circuit_duration_max_ms: 100 }, "raise circuit_duration_max"],
  ])(
    "end with both sides reset when they reach their limit of %s",
    async (limit, settings, hint) => {
      const { add, record } = open(settings);
      const { caller, ears } = await add();
      caller.write("twelve bytes");
      expect(await ears.caller.hearsTheEnd()).toBe("ECONNRESET");
      expect(await ears.callee.hearsTheEnd()).toBe("ECONNRESET");
      expect(await record()).toMatchObject({ level: "warn", ending: "limit", limit, by: "us" });
      expect((await record())?.message).toContain(hint);
    },
  );

  it("end at once when they were at rest for long and the proxy stops", async () => {
    vi.useFakeTimers({ toFake: ["performance"] }); // no time passes unless we say so
    const { circuits, add, record } = open();
    const { caller, ears } = await add();
    caller.write("long ago");
    await ears.callee.hears(8);
    vi.advanceTimersByTime(GENEROUS.drain_timeout_ms);
    await circuits[Symbol.asyncDispose]();
    expect(await record()).toMatchObject({ ending: "shutdown", by: "us", bytes_from_caller: 8 });
    expect(await ears.callee.hearsTheEnd()).toBe("ECONNRESET");
  });

  it("may wait for a slow answer while the proxy stops", async () => {
    vi.useFakeTimers({ toFake: ["performance"] });
    const { circuits, add, record } = open();
    const stale = await add();
    vi.advanceTimersByTime(2_000);
    const waiting = await add();
    waiting.caller.write("?");
    await waiting.ears.callee.hears(1);
    vi.advanceTimersByTime(GENEROUS.drain_timeout_ms - 1_000);
    const stopping = circuits[Symbol.asyncDispose]();
    expect(await stale.ears.caller.hearsTheEnd()).toBe("ECONNRESET");
    expect(await record()).toMatchObject({ ending: "shutdown", bytes_from_caller: 0 });
    expect(circuits.open).toBe(1);
    waiting.callee.end("answer");
    await waiting.ears.caller.hears(6);
    waiting.caller.end();
    await stopping;
    expect(await record(2)).toMatchObject({ ending: "done", bytes_from_callee: 6 });
  });

  it("end when time is up, however busy they are", async () => {
    const { circuits, add, record } = open({ drain_timeout_ms: 100 });
    const { caller, ears } = await add();
    const stopping = circuits[Symbol.asyncDispose]();
    await until(() => {
      caller.write("x");
      return ears.caller.ending !== undefined;
    }, "the busy one is ended");
    await stopping;
    expect(await record()).toMatchObject({ ending: "shutdown", by: "us" });
    expect(circuits.open).toBe(0);
  });
});
