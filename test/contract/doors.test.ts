import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { setImmediate as turn } from "node:timers/promises";
import fc from "fast-check";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { silent } from "../../src/core/log.ts";
import { openMetrics } from "../../src/core/metrics.ts";
import type { Listener } from "../../src/net/listen.ts";
import { tokenOf } from "../../src/relay/doors/token.ts";
import type { Admit, Engine } from "../../src/relay/engine.ts";
import { RelayEvents } from "../../src/relay/events.ts";
import type { Leg } from "../../src/relay/leg.ts";
import { engines } from "../support/engines.ts";
import { until } from "../support/until.ts";
import { Ear, say, Wires } from "../support/wires.ts";

type Limits = { hello_timeout_ms: number; strangers_max: number; strangers_per_source_max: number };
type Admitted = { key: Buffer; leg: Leg };

const events = new RelayEvents({ log: silent, metrics: openMetrics() });

/** Every door of every engine keeps the same contract: what a stranger has to say there, and what it is to us. */
const doors = engines.flatMap(({ name, open }) => [
  { engineName: name, openEngine: open, door: "token" as const, hello_size: 32 },
]);

const GENEROUS = { hello_timeout_ms: 10_000, strangers_max: 100, strangers_per_source_max: 100 };
const SHORT_MS = 60;

describe.each(doors)("the $door door, $engineName", ({ openEngine, door, hello_size }) => {
  let engine: Engine;
  let wires: Wires;
  const sockets: Socket[] = [];
  const listeners: Listener[] = [];
  beforeAll(async () => {
    engine = await openEngine();
    wires = await Wires.open();
  });
  afterAll(async () => {
    await wires[Symbol.asyncDispose]();
    await engine[Symbol.asyncDispose]();
  });
  afterEach(async () => {
    wires.hangUp();
    for (const socket of sockets.splice(0)) socket.destroy();
    for (const listener of listeners.splice(0)) await listener[Symbol.asyncDispose]();
  });

  const openDoor = (limits: Limits, admit: Admit): Promise<Listener> =>
    engine.openDoor(door, { bind: "127.0.0.1:0", setting: "test", ...limits }, { events }, admit);

  /** Splices a leg to a connection of ours, so that it can be heard and spoken to. */
  async function meet({ line }: Leg): Promise<Socket> {
    const { dialled, accepted } = await wires.connect();
    const callee = await engine.adopt(accepted, new AbortController().signal);
    engine.splice({ caller: line, callee }, { bytes_max: Infinity });
    return dialled;
  }

  async function open(limits: Partial<Limits> = {}) {
    const admitted: Admitted[] = [];
    const listener = await openDoor({ ...GENEROUS, ...limits }, (hello, leg) => {
      admitted.push({ key: tokenOf(hello), leg });
    });
    listeners.push(listener);
    /** Comes from an address of this machine, which on Linux may be any of 127.0.0.0/8. */
    const knock = async (localAddress = "127.0.0.1"): Promise<Socket> => {
      const options = { port: listener.port, host: "127.0.0.1", localAddress };
      const socket = connect({ ...options, allowHalfOpen: true, noDelay: true });
      sockets.push(socket.on("error", () => {}));
      await once(socket, "connect");
      return socket;
    };
    const admission = async (count: number): Promise<Admitted> => {
      await until(() => admitted.length >= count, `${count} legs are admitted`);
      return admitted[count - 1] as Admitted;
    };
    return { admitted, admission, knock, door: listener };
  }

  /** Says it in pieces, each of which the door gets to see on its own. */
  async function sayInPieces(socket: Socket, bytes: Buffer, cuts: number[]): Promise<void> {
    const ends = [...new Set(cuts)].sort((a, b) => a - b).filter((cut) => cut < bytes.length);
    let from = 0;
    for (const to of [...ends, bytes.length]) {
      await say(socket, bytes.subarray(from, to));
      from = to;
      for (let turns = 0; turns < 3; turns += 1) await turn();
    }
  }

  it.each(Array.from({ length: 31 }, (_, index) => index + 1))(
    "reads a hello that is cut after %i bytes",
    async (cut) => {
      const { admission, knock } = await open();
      const hello = randomBytes(hello_size);
      await sayInPieces(await knock(), hello, [cut]);
      expect((await admission(1)).key).toEqual(hello);
    },
  );

  it("reads a hello in any pieces, and keeps the bytes that came behind it", async () => {
    const { admission, knock } = await open();
    const cut = fc.integer({ min: 1, max: hello_size + 40 });
    const pieces = fc.array(cut, { maxLength: hello_size });
    const rest = fc.uint8Array({ maxLength: 100 }).map((bytes) => Buffer.from(bytes));
    let count = 0;
    await fc.assert(
      fc.asyncProperty(pieces, rest, async (cuts, behind) => {
        const hello = randomBytes(hello_size);
        const stranger = await knock();
        await sayInPieces(stranger, Buffer.concat([hello, behind]), cuts);
        stranger.end();
        count += 1;
        const { key, leg } = await admission(count);
        expect(key).toEqual(hello);
        const ear = new Ear(await meet(leg));
        expect(await ear.hearsTheEnd()).toBe("end");
        expect(ear.bytes).toEqual(behind);
      }),
      { numRuns: 60 },
    );
  });

  it("reads a hello that comes one byte at a time", async () => {
    const { admission, knock } = await open();
    const hello = randomBytes(hello_size);
    const each = Array.from({ length: hello_size }, (_, index) => index + 1);
    await sayInPieces(await knock(), hello, each);
    expect((await admission(1)).key).toEqual(hello);
  });

  it("loses nothing when much comes right behind the hello", async () => {
    const { admission, knock } = await open();
    const [hello, behind] = [randomBytes(hello_size), randomBytes(1_000_000)];
    const stranger = await knock();
    stranger.end(Buffer.concat([hello, behind]));
    const { leg } = await admission(1);
    const ear = new Ear(await meet(leg));
    expect(await ear.hearsTheEnd()).toBe("end");
    expect(ear.bytes.equals(behind)).toBe(true);
  });

  it("hangs up on a stranger who says nothing", async () => {
    const { admitted, knock } = await open({ hello_timeout_ms: SHORT_MS });
    const ear = new Ear(await knock());
    await ear.hearsTheEnd();
    expect(admitted).toEqual([]);
  });

  it("hangs up on a stranger who trickles for ever", async () => {
    const { admitted, knock } = await open({ hello_timeout_ms: SHORT_MS });
    const stranger = await knock();
    const ear = new Ear(stranger);
    let said = 0;
    await until(() => {
      if (said < hello_size - 1) stranger.write("x");
      said += 1;
      return ear.ending !== undefined;
    }, "the door hangs up");
    expect(admitted).toEqual([]);
  });

  it("hangs up on a stranger who ends inside the hello", async () => {
    const { admitted, knock } = await open();
    const stranger = await knock();
    const ear = new Ear(stranger);
    stranger.end(randomBytes(hello_size - 1));
    await ear.hearsTheEnd();
    expect(admitted).toEqual([]);
  });

  it("leaves no deadline on a leg that it admitted [p2p 5]", async () => {
    const { admission, knock } = await open({ hello_timeout_ms: SHORT_MS });
    const stranger = await knock();
    stranger.write(randomBytes(hello_size));
    const { leg } = await admission(1);
    // Whoever comes now and is hung up on has waited longer than the leg had left.
    await new Ear(await knock()).hearsTheEnd();

    const partner = await meet(leg);
    const [outside, inside] = [new Ear(stranger), new Ear(partner)];
    stranger.write("are you there?");
    expect((await inside.hears(14)).toString()).toBe("are you there?");
    partner.write("yes");
    expect((await outside.hears(3)).toString()).toBe("yes");
  });

  it("lets in so many strangers from one source, and others still", async () => {
    const { admission, knock } = await open({ strangers_per_source_max: 2 });
    const first = await knock();
    await knock();
    await new Ear(await knock()).hearsTheEnd();

    const hello = randomBytes(hello_size);
    if (process.platform === "linux") {
      const other = await knock("127.0.0.2");
      other.write(hello);
      expect((await admission(1)).key).toEqual(hello);
    }
    first.write(hello); // no stranger any more, so there is room for another
    await admission(process.platform === "linux" ? 2 : 1);
    const next = await knock();
    next.write(hello);
    await admission(process.platform === "linux" ? 3 : 2);
  });

  it("lets in so many strangers in all", async () => {
    const { admission, knock } = await open({ strangers_max: 2 });
    const first = await knock();
    const second = await knock();
    await new Ear(await knock()).hearsTheEnd();

    first.write(randomBytes(hello_size)); // no stranger any more, so there is room for another
    await admission(1);
    const third = await knock();
    third.write(randomBytes(hello_size));
    await admission(2);
    second.write(randomBytes(hello_size));
    await admission(3);
  });

  it("turns strangers away when it closes, and leaves admitted legs alone", async () => {
    const { admission, knock, door } = await open();
    const stranger = new Ear(await knock());
    const caller = await knock();
    caller.write(randomBytes(hello_size));
    const { leg } = await admission(1);

    await door[Symbol.asyncDispose]();
    await stranger.hearsTheEnd();
    await expect(knock()).rejects.toMatchObject({ code: "ECONNREFUSED" });
    const ear = new Ear(await meet(leg));
    caller.write("still here");
    expect((await ear.hears(10)).toString()).toBe("still here");
  });

  it("hangs up on a leg that nobody can take", async () => {
    const listener = await openDoor(GENEROUS, () => {
      throw new Error("no room");
    });
    listeners.push(listener);
    const socket = connect(listener.port, "127.0.0.1");
    sockets.push(socket.on("error", () => {}));
    const ear = new Ear(socket);
    socket.write(randomBytes(hello_size));
    await ear.hearsTheEnd();
  });
});
