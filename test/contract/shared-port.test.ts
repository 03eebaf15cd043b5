import { randomBytes } from "node:crypto";
import { setImmediate as turn } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { silent } from "../../src/core/log.ts";
import { openMetrics } from "../../src/core/metrics.ts";
import { type Listener, listen } from "../../src/net/listen.ts";
import { SharedPort } from "../../src/relay/doors/shared.ts";
import { tokenOf } from "../../src/relay/doors/token.ts";
import type { Engine } from "../../src/relay/engine.ts";
import { RelayEvents } from "../../src/relay/events.ts";
import type { Leg } from "../../src/relay/leg.ts";
import type { Beginning } from "../../src/wire/beginning.ts";
import { encodeHello } from "../../src/wire/relayserver.ts";
import { encodeGreeting } from "../../src/wire/zmtp.ts";
import { capturedHello } from "../support/client-hello.ts";
import { engines } from "../support/engines.ts";
import { samples } from "../support/metrics.ts";
import { until } from "../support/until.ts";
import { dialFreely, Ear, say, Wires } from "../support/wires.ts";

const GENEROUS = { hello_timeout_ms: 10_000, strangers_max: 100, strangers_per_source_max: 100 };
const AT = { bind: "127.0.0.1:0", setting: "test" };
const SHORT_MS = 60;

describe.each(engines)("a port that doors share, $name", ({ open: openEngine }) => {
  let engine: Engine;
  let wires: Wires;
  let tls: Buffer;
  const listeners: Listener[] = [];
  const hangUp: Array<() => void> = [];

  beforeAll(async () => {
    [engine, wires] = await Promise.all([openEngine(), Wires.open()]);
    tls = await capturedHello("a.example.local");
  });
  afterAll(async () => {
    await wires[Symbol.asyncDispose]();
    await engine[Symbol.asyncDispose]();
  });
  afterEach(async () => {
    wires.hangUp();
    for (const each of hangUp.splice(0)) each();
    for (const listener of listeners.splice(0)) await listener[Symbol.asyncDispose]();
  });

  /** Every door there is, or those of a list; `arrived` has who came to which, and its connection to hear. */
  async function open(begins: readonly Beginning[], limits = GENEROUS) {
    const metrics = openMetrics();
    const events = new RelayEvents({ log: silent, metrics });
    const port = new SharedPort(AT.bind, events);
    const arrived: Array<{ door: Beginning; hello: string; ear: Ear }> = [];
    const meet = async (door: Beginning, hello: string, { line }: Leg): Promise<void> => {
      const { dialled, accepted } = await wires.connect();
      const callee = await engine.adopt(accepted, new AbortController().signal);
      engine.splice({ caller: line, callee }, { bytes_max: Infinity });
      arrived.push({ door, hello, ear: new Ear(dialled) });
    };
    for (const begin of begins) {
      const settings = { ...AT, ...limits, share: port.share(begin, limits) };
      listeners.push(
        begin === "token" || begin === "tls"
          ? await engine.openDoor(
              begin === "tls" ? "sni" : "token",
              settings,
              { events },
              (hello, leg) => void meet(begin, hello, leg),
            )
          : await listen(settings, (socket) => {
              hangUp.push(() => socket.destroy());
              arrived.push({ door: begin, hello: "", ear: new Ear(socket) });
            }),
      );
    }
    const knock = async () => {
      const socket = await dialFreely(listeners[0]?.port ?? 0);
      hangUp.push(() => socket.destroy());
      return socket;
    };
    const turnedAway = async (why: string): Promise<number> =>
      samples(await metrics.metrics()).get(
        `eps_broker_strangers_turned_away_total{door="shared",why="${why}"}`,
      ) ?? 0;
    return { arrived, knock, turnedAway };
  }

  const behind = randomBytes(50);
  const token = Buffer.concat([Buffer.of(0x80), randomBytes(31)]);
  /** What is said at each door, what the door makes of it, and how much of it is for whoever is behind it. */
  const visitors: Array<[Beginning, () => Buffer, (said: Buffer) => [string, Buffer]]> = [
    ["token", () => token, () => [tokenOf(token.toString("latin1")).toString("latin1"), behind]],
    ["tls", () => tls, (said) => ["a.example.local", said]],
    ["zmtp", () => encodeGreeting("NULL"), (said) => ["", said]],
    ["relayserver", () => encodeHello({}), (said) => ["", said]],
    ["http", () => Buffer.from("GET / HTTP/1.1\r\n\r\n"), (said) => ["", said]],
  ];
  const all = visitors.map(([begins]) => begins);

  it.each(visitors)("shows who begins with %s to its door, and loses nothing", async (...row) => {
    const [begins, hello, expected] = row;
    const { arrived, knock } = await open(all);
    const said = Buffer.concat([hello(), behind]);
    for (const size of [1, said.length]) {
      const client = await knock();
      for (let at = 0; at < said.length; at += size) {
        await say(client, said.subarray(at, at + size));
        await turn();
      }
      client.end();
      await until(() => arrived.length > 0, "somebody has come");
      const [came] = arrived.splice(0);
      const [told, left] = expected(said);
      expect(came).toMatchObject({ door: begins, hello: told });
      await came?.ear.hearsTheEnd();
      expect(came?.ear.bytes).toEqual(left);
    }
  });

  it("hangs up on who begins as nobody may, and counts it", async () => {
    const { arrived, knock, turnedAway } = await open(["tls", "http"]);
    for (const first of [0x00, 0x80, 0xff]) {
      const client = await knock();
      const ear = new Ear(client);
      client.write(Buffer.of(first));
      await ear.hearsTheEnd();
    }
    expect(await turnedAway("malformed")).toBe(3);
    expect(arrived).toEqual([]);
  });

  it("hangs up on who says nothing, and on more than any of its doors would have", async () => {
    const small = { ...GENEROUS, strangers_max: 1, hello_timeout_ms: SHORT_MS };
    const { knock, turnedAway } = await open(["zmtp", "token"], small);
    const [silent, tooMany] = [new Ear(await knock()), new Ear(await knock())];
    await Promise.all([silent.hearsTheEnd(), tooMany.hearsTheEnd()]);
    expect([await turnedAway("silent"), await turnedAway("crowd")]).toEqual([1, 1]);
  });

  it("is open as long as one of its doors is", async () => {
    const { arrived, knock, turnedAway } = await open(["http", "zmtp"]);
    await listeners[0]?.[Symbol.asyncDispose]();
    const late = await knock();
    late.write("GET");
    await new Ear(late).hearsTheEnd();
    expect(await turnedAway("malformed")).toBe(1);
    (await knock()).write(encodeGreeting("NULL"));
    await until(() => arrived.length === 1, "the other door is open");
    await listeners[1]?.[Symbol.asyncDispose]();
    await expect(knock()).rejects.toMatchObject({ code: "ECONNREFUSED" });
  });
});
