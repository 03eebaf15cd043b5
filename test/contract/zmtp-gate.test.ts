import { randomBytes } from "node:crypto";
import type { Socket } from "node:net";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import type { Engine } from "../../src/relay/engine.ts";
import { engines } from "../support/engines.ts";
import { PoolBed } from "../support/pool-bed.ts";
import { until } from "../support/until.ts";
import { Ear, say } from "../support/wires.ts";

/* What libzmq 4.3.5 says (seed-systems 3.5), by hand. */
const greeting = (mechanism: string): Buffer =>
  Buffer.concat([
    Buffer.from("ff00000000000000017f0301", "hex"),
    Buffer.from(mechanism.padEnd(20, "\0")),
    Buffer.alloc(32),
  ]);
const command = (name: string, size: number): Buffer => {
  const named = Buffer.concat([Buffer.from([name.length]), Buffer.from(name)]);
  const length = Buffer.alloc(size > 255 ? 8 : 1);
  if (size > 255) length.writeBigUInt64BE(BigInt(size));
  else length.writeUInt8(size);
  const rest = randomBytes(size - named.length);
  return Buffer.concat([Buffer.from([size > 255 ? 6 : 4]), length, named, rest]);
};
const curveHello = (): Buffer => {
  const frame = command("HELLO", 200);
  frame.set([1, 0], 8);
  frame.fill(0, 10, 82);
  return frame;
};
const CURVE = greeting("CURVE");
const SIGNATURE = CURVE.subarray(0, 10);
const HELLO = curveHello();
const WELCOME = command("WELCOME", 168);
const INITIATE = command("INITIATE", 292);
const READY = command("READY", 65);
const ERROR = command("ERROR", 7);
const MESSAGE = Buffer.concat([Buffer.from([0, 40]), randomBytes(40)]);
const OPENING = Buffer.concat([CURVE, HELLO]);

const TERMS = { queue_max: 10, needs_listener: false };
const GATE = { handshake_timeout_ms: 20_000, failures_max: 3, ban_ms: 60_000 };

describe.each(engines)("the gate before ZeroMQ workers, $name", ({ open: openEngine }) => {
  let engine: Engine;
  let bed: PoolBed;
  beforeAll(async () => {
    engine = await openEngine();
  });
  afterAll(async () => {
    await engine[Symbol.asyncDispose]();
  });
  afterEach(async () => {
    await bed[Symbol.asyncDispose]();
  });
  const open = async (gate: Partial<typeof GATE> = {}, terms: object = {}): Promise<void> => {
    const settings = { terms: { ...TERMS, ...terms }, gate: { ...GATE, ...gate }, worker: true };
    bed = await PoolBed.open(engine, { ...settings, strangers: { hello_timeout_ms: 300 } });
  };
  /** A worker that dialled in, as libzmq does: ten bytes, and then it waits to be greeted. */
  const worker = async (): Promise<Peer> => {
    const { offers } = bed.relay.count;
    const peer = new Peer(await bed.dial("worker"));
    await say(peer.socket, SIGNATURE);
    await until(() => bed.relay.count.offers === offers + 1, "it waits");
    return peer;
  };
  /** The same behind an agent, to which the relay is RelayServer's. */
  const agent = async (): Promise<Peer> => {
    const { socket, heard } = await bed.host();
    return new Peer(socket, heard);
  };
  const client = async (said: Buffer = OPENING, from?: string): Promise<Peer> => {
    const peer = new Peer(await bed.dial("client", from));
    peer.socket.write(said);
    return peer;
  };
  /** Takes a pair from the opening to READY. */
  const shakeHands = async (client: Peer, worker: Peer): Promise<void> => {
    await worker.hears(OPENING);
    await say(worker.socket, Buffer.concat([CURVE.subarray(10), WELCOME]));
    await client.hears(CURVE, WELCOME);
    await say(client.socket, INITIATE);
    await worker.hears(OPENING, INITIATE);
    await say(worker.socket, READY);
    await client.hears(CURVE, WELCOME, READY);
  };
  const refusals = (): unknown[] =>
    bed.lines.filter(({ msg }) => msg === "refused").map(({ why }) => why);

  it("greets the client, and lets it and a worker through their handshake untouched", async () => {
    await open();
    const one = await worker();
    const guest = await client();
    await shakeHands(guest, one);
    await say(guest.socket, MESSAGE);
    await one.hears(OPENING, INITIATE, MESSAGE);
    await say(one.socket, Buffer.concat([MESSAGE, MESSAGE]));
    await guest.hears(CURVE, WELCOME, READY, MESSAGE, MESSAGE);
    guest.socket.end();
    expect(await one.ear.hearsTheEnd()).toBe("end");
    one.socket.end();
    await bed.counts(0, 0, 0);
    await until(() => bed.lines.length === 2, "the circuit is told");
    expect(bed.lines[1]).toMatchObject({ door: "zmtp", ending: "done", callee: "ssh" });
  });

  it("takes every segmentation, and loses nothing behind READY", async () => {
    await open();
    const one = await worker();
    const guest = await client(Buffer.alloc(0));
    for (const byte of OPENING) await say(guest.socket, Buffer.from([byte]));
    await one.hears(OPENING);
    const answer = Buffer.concat([CURVE.subarray(10), WELCOME]);
    for (const byte of answer) await say(one.socket, Buffer.from([byte]));
    await guest.hears(CURVE, WELCOME);
    for (const byte of INITIATE) await say(guest.socket, Buffer.from([byte]));
    await one.hears(OPENING, INITIATE);
    await say(one.socket, Buffer.concat([READY, MESSAGE, MESSAGE]));
    await guest.hears(CURVE, WELCOME, READY, MESSAGE, MESSAGE);
    await say(guest.socket, MESSAGE);
    await one.hears(OPENING, INITIATE, MESSAGE);
  });

  it.each([
    { who: "asks for a web page", said: Buffer.from("GET / HTTP/1.1\r\nhost: x\r\n\r\n") },
    {
      who: "says 200 random bytes behind FF",
      said: Buffer.concat([Buffer.from([255]), randomBytes(200)]),
    },
    { who: "has no security", said: greeting("NULL") },
    { who: "has a password", said: greeting("PLAIN") },
    { who: "stops within its greeting", said: CURVE.subarray(0, 30), ends: true },
    { who: "is silent", said: Buffer.alloc(0), why: "silent" },
    { who: "goes no further than its greeting", said: CURVE, why: "silent" },
    { who: "says INITIATE first", said: Buffer.concat([CURVE, INITIATE]) },
    {
      who: "fills the padding",
      said: Buffer.concat([CURVE, HELLO.subarray(0, 20), randomBytes(182)]),
    },
  ])("lets a client that $who cost no worker a byte [streamq 220]", async ({ said, ends, why }) => {
    await open();
    const one = await worker();
    const stranger = await client(said);
    if (ends) stranger.socket.end();
    await stranger.ear.hearsTheEnd();
    await until(() => refusals().length === 1, "it is told");
    if (why) expect(refusals()).toEqual([why]);
    expect(one.ear.size).toBe(0);
    expect(bed.relay.count).toMatchObject({ offers: 1, matches: 0 });
    await shakeHands(await client(), one);
  });

  it("takes as workers only those who begin as ZeroMQ peers do", async () => {
    await open();
    for (const said of ["", "SSH-2.0-x\r\n"]) {
      const stranger = new Peer(await bed.dial("worker"));
      stranger.socket.write(said);
      await stranger.ear.hearsTheEnd();
    }
    expect(refusals()).toEqual(["silent", "malformed"]);
    expect(bed.relay.count.offers).toBe(0);
  });

  it("asks the next agent's worker when one is gone before WELCOME, and the client never knows", async () => {
    await open();
    const [gone, silent, good] = [await agent(), await agent(), await agent()];
    await bed.counts(3, 0, 0);
    const guest = await client();
    await gone.hears(OPENING);
    gone.socket.resetAndDestroy();
    await silent.hears(OPENING);
    await say(silent.socket, CURVE.subarray(0, 40));
    silent.socket.end();
    await good.hears(OPENING);
    expect(guest.ear.size).toBe(CURVE.length);
    await say(good.socket, SIGNATURE);
    await shakeHands(guest, good);
  });

  it("asks nobody else once the client has heard WELCOME [streamq 230]", async () => {
    await open();
    const [first, second] = [await agent(), await agent()];
    await bed.counts(2, 0, 0);
    const guest = await client();
    await first.hears(OPENING);
    await say(first.socket, Buffer.concat([CURVE, WELCOME]));
    await guest.hears(CURVE, WELCOME);
    first.socket.resetAndDestroy();
    await guest.ear.hearsTheEnd();
    expect(refusals()).toEqual(["handshake"]);
    await bed.counts(1, 0, 0);
    await say(second.socket, SIGNATURE);
    await shakeHands(await client(), second);
  });

  it("gives up after three agents' workers, and says so", async () => {
    await open();
    const all = [await agent(), await agent(), await agent(), await agent()];
    await bed.counts(4, 0, 0);
    const guest = await client();
    for (const each of all.slice(0, 3)) {
      await each.hears(OPENING);
      each.socket.end();
    }
    await guest.ear.hearsTheEnd();
    expect(refusals()).toEqual(["handshake"]);
    await bed.counts(1, 0, 0);
    expect(all[3]?.ear.size).toBe(0);
  });

  it("lets only one worker without an agent hear a HELLO that may be for another key", async () => {
    await open();
    const [one, two] = [await worker(), await worker()];
    const guest = await client();
    await one.hears(OPENING);
    one.socket.end();
    await guest.ear.hearsTheEnd();
    expect(two.ear.size).toBe(0);
    await bed.counts(1, 0, 0);
    expect(refusals()).toEqual(["handshake"]);
  });

  it("passes on that the worker refuses a client, and then it is over", async () => {
    await open();
    const one = await worker();
    const guest = await client();
    await one.hears(OPENING);
    await say(one.socket, Buffer.concat([CURVE.subarray(10), WELCOME]));
    await guest.hears(CURVE, WELCOME);
    await say(guest.socket, INITIATE);
    await say(one.socket, ERROR);
    await guest.hears(CURVE, WELCOME, ERROR);
    await guest.ear.hearsTheEnd();
    await one.ear.hearsTheEnd();
    expect(refusals()).toEqual(["handshake"]);
    await bed.counts(0, 0, 0);
  });

  it.each(["while it waits", "while the worker is asked", "after WELCOME"])(
    "forgets a client that leaves %s [streamq 230]",
    async (when) => {
      await open();
      const one = when === "while it waits" ? undefined : await worker();
      const guest = await client();
      if (!one) await bed.counts(0, 1, 0);
      await one?.hears(OPENING);
      if (one && when === "after WELCOME") {
        await say(one.socket, Buffer.concat([CURVE.subarray(10), WELCOME]));
        await guest.hears(CURVE, WELCOME);
      }
      guest.socket.end();
      await guest.ear.hearsTheEnd();
      await one?.ear.hearsTheEnd();
      await bed.counts(0, 0, 0);
    },
  );

  it("hangs up on both when a handshake takes too long", async () => {
    await open({ handshake_timeout_ms: 150 });
    const one = await worker();
    const guest = await client();
    await one.hears(OPENING);
    await guest.ear.hearsTheEnd();
    await one.ear.hearsTheEnd();
    expect(bed.lines).toEqual([expect.objectContaining({ why: "handshake" })]);
    expect(`${bed.lines[0]?.["reason"]}`).toContain("took longer than 0.15 s");
  });

  it("lets an address wait whose handshakes fail again and again, and no other", async () => {
    await open({ failures_max: 2, ban_ms: 300 });
    for (let i = 0; i < 2; i += 1) {
      const one = await worker();
      const guest = await client();
      await one.hears(OPENING);
      one.socket.end();
      await guest.ear.hearsTheEnd();
    }
    const one = await worker();
    const banned = await client();
    await banned.ear.hearsTheEnd();
    expect(refusals()).toEqual(["handshake", "handshake", "banned"]);
    expect(one.ear.size).toBe(0);
    await shakeHands(await client(OPENING, "127.0.0.2"), one);
    await until(async () => {
      const late = await client();
      await until(() => late.ear.size > 0 || late.ear.ending !== undefined, "it is known");
      const greeted = late.ear.size > 0;
      late.socket.destroy();
      return greeted;
    }, "the address may come again");
  });
});

/** A peer, and what it has heard. */
class Peer {
  readonly socket: Socket;
  readonly ear: Ear;
  readonly #heard: ((size: number) => Promise<Buffer>) | undefined;

  constructor(socket: Socket, heard?: (size: number) => Promise<Buffer>) {
    this.socket = socket;
    this.ear = new Ear(socket);
    this.#heard = heard;
  }

  /** It has heard exactly this so far. */
  async hears(...said: Buffer[]): Promise<void> {
    const all = Buffer.concat(said);
    const heard = await (this.#heard?.(all.length) ?? this.ear.hears(all.length));
    expect(heard.equals(all)).toBe(true);
  }
}
