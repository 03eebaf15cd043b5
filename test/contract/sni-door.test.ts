import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { silent } from "../../src/core/log.ts";
import { openMetrics } from "../../src/core/metrics.ts";
import type { Engine } from "../../src/relay/engine.ts";
import { RelayEvents } from "../../src/relay/events.ts";
import type { Leg } from "../../src/relay/leg.ts";
import { capturedHello } from "../support/client-hello.ts";
import { engines } from "../support/engines.ts";
import { until } from "../support/until.ts";
import { Ear, Wires } from "../support/wires.ts";

const DECODE_ERROR = Buffer.from("15030300020232", "hex");
const UNRECOGNIZED_NAME = Buffer.from("15030300020270", "hex");

describe.each(engines)("the sni door, $name", ({ open: openEngine }) => {
  const cleanup: Array<() => unknown> = [];
  let hello: Buffer;
  let engine: Engine;
  let wires: Wires;

  beforeAll(async () => {
    engine = await openEngine();
    wires = await Wires.open();
    hello = await capturedHello("a.example.local");
  });
  afterEach(async () => {
    for (const each of cleanup.splice(0)) await each();
  });

  afterAll(async () => {
    await wires[Symbol.asyncDispose]();
    await engine[Symbol.asyncDispose]();
  });

  async function open(hello_timeout_ms = 10_000) {
    const admitted: Array<{ name: string; leg: Leg }> = [];
    const door = await engine.openDoor(
      "sni",
      {
        bind: "127.0.0.1:0",
        setting: "test",
        hello_timeout_ms,
        strangers_max: 10,
        strangers_per_source_max: 10,
      },
      { events: new RelayEvents({ log: silent, metrics: openMetrics() }) },
      (name, leg) => {
        admitted.push({ name, leg });
      },
    );
    cleanup.push(() => door[Symbol.asyncDispose]());
    const knock = async (): Promise<Socket> => {
      const socket = connect({ port: door.port, host: "127.0.0.1", noDelay: true });
      cleanup.push(() => socket.destroy());
      socket.on("error", () => {});
      await once(socket, "connect");
      return socket;
    };
    return { admitted, knock };
  }

  it.each([1, 2, 7, 100])(
    "reads a name in pieces of %i bytes, and leaves all of them",
    async (size) => {
      const { admitted, knock } = await open();
      const client = await knock();
      for (let at = 0; at < hello.length; at += size) {
        await new Promise((written) => client.write(hello.subarray(at, at + size), written));
      }
      client.write("and more");
      await until(() => admitted.length === 1, "the leg is admitted");
      const [{ name, leg } = expect.unreachable()] = admitted;
      expect(name).toBe("a.example.local");
      const expected = Buffer.concat([hello, Buffer.from("and more")]);
      const { dialled, accepted } = await wires.connect();
      const callee = await engine.adopt(accepted, new AbortController().signal);
      engine.splice({ caller: leg.line, callee }, { bytes_max: Infinity });
      expect(await new Ear(dialled).hears(expected.length)).toEqual(expected);
      wires.hangUp();
    },
  );

  it.each([
    ["garbage", Buffer.from("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), DECODE_ERROR],
    ["a ClientHello without a name", undefined, UNRECOGNIZED_NAME],
  ])("answers %s with a TLS alert", async (_, bytes, expected) => {
    const { admitted, knock } = await open();
    const client = await knock();
    const heard: Buffer[] = [];
    client.on("data", (chunk) => heard.push(chunk));
    client.write(bytes ?? (await capturedHello(undefined)));
    await once(client, "close");
    expect(Buffer.concat(heard)).toEqual(expected);
    expect(admitted).toEqual([]);
  });

  it("tells a client that nobody has the name it asks for", async () => {
    const { admitted, knock } = await open();
    const client = await knock();
    const heard: Buffer[] = [];
    client.on("data", (chunk) => heard.push(chunk)).write(hello);
    await until(() => admitted.length === 1, "the leg is admitted");
    const { leg } = admitted[0] ?? expect.unreachable();
    leg.line.hangUp(UNRECOGNIZED_NAME);
    await once(client, "close");
    expect(Buffer.concat(heard)).toEqual(UNRECOGNIZED_NAME);
  });

  it("hangs up on a client that stops in the middle of its hello", async () => {
    const { admitted, knock } = await open(60);
    const client = await knock();
    client.resume().write(hello.subarray(0, 20));
    await once(client, "close");
    expect(admitted).toEqual([]);
  });
});
