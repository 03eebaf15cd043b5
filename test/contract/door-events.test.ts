import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { afterEach, describe, it } from "vitest";
import { silent } from "../../src/core/log.ts";
import { openMetrics } from "../../src/core/metrics.ts";
import type { DoorSettings } from "../../src/relay/doors/admission.ts";
import { RelayEvents } from "../../src/relay/events.ts";
import { engines } from "../support/engines.ts";
import { samples } from "../support/metrics.ts";
import { until } from "../support/until.ts";

describe.each(engines)("what a door tells of strangers, $name", ({ open: openEngine }) => {
  const cleanup: Array<() => unknown> = [];
  afterEach(async () => {
    for (const each of cleanup.splice(0).reverse()) await each();
  });

  async function open(kind: "sni" | "token", more: Partial<DoorSettings> = {}) {
    const metrics = openMetrics();
    const settings = {
      bind: "127.0.0.1:0",
      setting: "test",
      hello_timeout_ms: 20_000,
      strangers_max: 10,
      strangers_per_source_max: 10,
      ...more,
    };
    const events = new RelayEvents({ log: silent, metrics });
    const engine = await openEngine();
    cleanup.push(() => engine[Symbol.asyncDispose]());
    const door = await engine.openDoor(kind, settings, { events }, (_, { line }) => line.hangUp());
    cleanup.push(() => door[Symbol.asyncDispose]());
    const knock = async (bytes?: string): Promise<Socket> => {
      const socket = connect({ port: door.port, host: "127.0.0.1" });
      cleanup.push(() => socket.destroy());
      socket.on("error", () => {}).resume();
      await once(socket, "connect");
      if (bytes) socket.write(bytes);
      return socket;
    };
    const becomes = (name: string, value: number): Promise<void> =>
      until(async () => samples(await metrics.metrics()).get(name) === value, `${name} ${value}`);
    const turnedAway = (why: string): Promise<void> =>
      becomes(`eps_broker_strangers_turned_away_total{door="${kind}",why="${why}"}`, 1);
    return { knock, becomes, turnedAway };
  }

  it("is that they said what makes no sense, or named nobody", async () => {
    const { knock, becomes, turnedAway } = await open("sni");
    await knock("GET / HTTP/1.1\r\n\r\n");
    await turnedAway("malformed");
    const nameless = connectTls({ socket: await knock() }).on("error", () => {});
    cleanup.push(() => nameless.destroy());
    await turnedAway("nameless");
    await becomes('eps_broker_strangers{door="sni"}', 0);
  });

  it("is that they hung up, or said nothing in time", async () => {
    const gone = await open("token");
    const socket = await gone.knock("half a token");
    await gone.becomes('eps_broker_strangers{door="token"}', 1);
    socket.end();
    await gone.turnedAway("gone");
    await gone.becomes('eps_broker_strangers{door="token"}', 0);

    const silence = await open("token", { hello_timeout_ms: 50 });
    await silence.knock();
    await silence.turnedAway("silent");
  });

  it.each([
    ["crowd", { strangers_max: 1 }],
    ["source_crowd", { strangers_per_source_max: 1 }],
    ["rate", { rate_limits: [{ type: "hour", limit: 1 }] as const }],
  ])("is that they came in a %s", async (why, limits) => {
    const { knock, becomes, turnedAway } = await open("sni", limits);
    await knock();
    await becomes('eps_broker_strangers{door="sni"}', 1);
    await knock();
    await turnedAway(why);
  });

  it("is how long they took to say what they want", async () => {
    const { knock, becomes } = await open("token");
    await knock("x".repeat(32));
    await becomes('eps_broker_hello_wait_seconds_count{door="token"}', 1);
    await becomes('eps_broker_strangers{door="token"}', 0);
  });
});
