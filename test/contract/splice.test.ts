import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import type { Socket } from "node:net";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { EAGAIN, loadLinux, MSG_DONTWAIT } from "../../src/relay/kernel/linux.ts";
import type { Splice } from "../../src/relay/splice.ts";
import { engines } from "../support/engines.ts";
import { Listening, recite } from "../support/speech.ts";
import { Bench, both, describeMatrix, MIB, NO_LIMIT, other } from "../support/splice-matrix.ts";
import { until } from "../support/until.ts";
import { Ear, Wires } from "../support/wires.ts";

const SIZES = [0, 1, 65_535, 65_536, 65_537, MIB - 1, MIB, MIB + 1];

const sha256 = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");

const linux = await loadLinux();
const ECONNRESET = 104;

/** Reads a paused socket to the end, without Node. */
async function howItEnds(socket: Socket): Promise<"end" | "ECONNRESET"> {
  const { fd } = (socket as unknown as { _handle: { fd: number } })._handle;
  const buffer = Buffer.allocUnsafeSlow(MIB);
  const buffer_at = linux.pin(buffer);
  let [size, why] = [1, 0];
  await until(() => {
    do size = linux.recv(fd, buffer_at, MIB, MSG_DONTWAIT);
    while (size > 0);
    why = size < 0 ? linux.errno() : 0; // at once, before anything else goes wrong
    return why !== EAGAIN;
  }, "it ends");
  if (size < 0) expect(why).toBe(ECONNRESET);
  return size === 0 ? "end" : "ECONNRESET";
}

describe.each(engines)("the $name splice", ({ name, open }) => {
  const bench = new Bench(open);
  let wires: Wires;
  beforeAll(async () => {
    wires = await Wires.open();
  });
  afterEach(() => wires.hangUp());
  afterAll(async () => {
    await wires[Symbol.asyncDispose]();
  });

  /** As between sockets that were dialled from here. */
  async function adopted() {
    const [caller, callee] = [await wires.connect(), await wires.connect()];
    const { signal } = new AbortController();
    const lines = {
      caller: await bench.engine.adopt(caller.accepted, signal),
      callee: await bench.engine.adopt(callee.accepted, signal),
    };
    const outside = { caller: caller.dialled, callee: callee.dialled };
    return { outside, spliced: bench.engine.splice(lines, NO_LIMIT) };
  }

  describeMatrix(bench, SIZES);

  it.each(both)("resets the partner of a %s that ended and then broke", async (breaker) => {
    const { outside, listeners, spliced } = await bench.circuit();
    const partner = other(breaker);
    outside[breaker].end("half a sentence");
    expect(await listeners[partner].hearsTheEnd()).toBe("end");
    outside[breaker].resetAndDestroy();
    // The partner is still talking, and hears of it as soon as it says something.
    await until(() => {
      outside[partner].write("anybody there?");
      return outside[partner].closed;
    }, "the partner is cut off");
    expect(outside[partner].errored).toBeInstanceOf(Error);
    expect(await spliced.over).toMatchObject({ ending: "broken", by: breaker });
  });

  it("loses nothing that came with the hello", async () => {
    const said = randomBytes(100_000);
    const { outside, lines } = await bench.arrivals(said);
    const ears = { caller: new Ear(outside.caller), callee: new Ear(outside.callee) };
    const { over } = bench.engine.splice(lines, NO_LIMIT);
    outside.callee.end();
    outside.caller.end("and an answer");
    expect(await ears.caller.hearsTheEnd()).toBe("end");
    expect(sha256(ears.caller.bytes)).toBe(sha256(said));
    expect(await ears.callee.hearsTheEnd()).toBe("end");
    expect(ears.callee.bytes.toString()).toBe("and an answer");
    expect(await over).toMatchObject({
      ending: "done",
      bytes: { caller: 13, callee: said.length },
    });
  });

  it("passes on an end that came with the hello", async () => {
    const { outside, lines } = await bench.arrivals();
    outside.caller.end();
    const ears = { caller: new Ear(outside.caller), callee: new Ear(outside.callee) };
    const { over } = bench.engine.splice(lines, NO_LIMIT);
    expect(await ears.callee.hearsTheEnd()).toBe("end");
    outside.callee.end("still here");
    expect(await ears.caller.hearsTheEnd()).toBe("end");
    expect(ears.caller.bytes.toString()).toBe("still here");
    expect(await over).toMatchObject({ ending: "done", bytes: { caller: 0, callee: 10 } });
  });

  it.each(both)("resets the partner of a %s that was gone before it began", async (gone) => {
    const { outside, lines } = await bench.arrivals();
    outside[gone].resetAndDestroy();
    await until(() => outside[gone].closed, "it is gone");
    const ear = new Ear(outside[other(gone)]);
    const { over } = bench.engine.splice(lines, NO_LIMIT);
    expect(await ear.hearsTheEnd()).toBe("ECONNRESET");
    expect(await over).toMatchObject({ ending: "broken", by: gone });
  });

  it("takes over sockets with what they have read and nobody has taken", async () => {
    const [caller, callee] = [await wires.connect(), await wires.connect()];
    caller.dialled.write("asked ");
    caller.accepted.once("readable", () => {});
    await until(() => caller.accepted.readableLength === 6, "it is buffered");
    callee.accepted.write("hello, ");
    const { signal } = new AbortController();
    const lines = {
      caller: await bench.engine.adopt(caller.accepted, signal),
      callee: await bench.engine.adopt(callee.accepted, signal),
    };
    const ears = { caller: new Ear(caller.dialled), callee: new Ear(callee.dialled) };
    const { over } = bench.engine.splice(lines, NO_LIMIT);
    caller.dialled.end("and answered");
    callee.dialled.end();
    expect(await ears.callee.hearsTheEnd()).toBe("end");
    expect(ears.callee.bytes.toString()).toBe("hello, asked and answered");
    expect(await over).toMatchObject({ ending: "done", bytes: { caller: 18, callee: 0 } });
  });

  it("takes over no socket that is gone", async () => {
    const { accepted } = await wires.connect();
    accepted.destroy();
    const { signal } = new AbortController();
    await expect(bench.engine.adopt(accepted, signal)).rejects.toMatchObject({
      fault: "unreachable",
    });
  });

  it("makes a writer wait for a slow reader", async () => {
    const { outside, spliced } = await adopted();
    const ear = new Ear(outside.caller); // the callee listens to nothing yet
    const said = 64 * MIB; // far more than the kernel's buffers take
    const speaking = recite(outside.caller, said);
    let [moved, quiet] = [-1, 0];
    await until(() => {
      quiet = moved === spliced.bytes.caller ? quiet + 1 : 0;
      moved = spliced.bytes.caller;
      return moved > 0 && quiet >= 20;
    }, "the writer is stopped");
    expect(moved).toBeLessThan(said);

    const listener = new Listening(outside.callee);
    await speaking;
    outside.caller.end();
    expect(await listener.hearsTheEnd()).toBe("end");
    expect(listener).toMatchObject({ size: said, wrong_at: undefined });
    outside.callee.end();
    expect(await ear.hearsTheEnd()).toBe("end");
    expect(await spliced.over).toMatchObject({ ending: "done", bytes: { caller: said } });
  });

  it("carries bytes that come one by one", async () => {
    const { outside, listeners, spliced } = await bench.circuit();
    const said = 2_000;
    for (let at = 0; at < said; at += 1) {
      for (const side of both) {
        await recite(outside[side], 1, at);
        if (at % 7 === 0) await new Promise((turn) => setImmediate(turn));
      }
    }
    for (const side of both) outside[side].end();
    for (const side of both) {
      expect(await listeners[side].hearsTheEnd()).toBe("end");
      expect(listeners[side]).toMatchObject({ size: said, wrong_at: undefined });
    }
    expect(await spliced.over).toMatchObject({ bytes: { caller: said, callee: said } });
  });

  it("lets one direction flow while the other is stopped", async () => {
    const { outside, spliced } = await adopted();
    void recite(outside.caller, 64 * MIB);
    let [moved, quiet] = [-1, 0];
    await until(() => {
      quiet = moved === spliced.bytes.caller ? quiet + 1 : 0;
      moved = spliced.bytes.caller;
      return moved > 0 && quiet >= 20;
    }, "it is stopped");

    const listener = new Listening(outside.caller);
    await recite(outside.callee, 3 * MIB);
    await listener.hears(3 * MIB);
    expect(listener.wrong_at).toBeUndefined();
    spliced.cut("shutdown");
    expect(await spliced.over).toMatchObject({ ending: "shutdown", by: "us" });
  });

  it.each(both)(
    "does not end what it carries for a %s that broke behind unread bytes",
    async (breaker) => {
      const { outside, spliced } = await adopted();
      void recite(outside[breaker], 64 * MIB); // more than anybody takes before the reset
      const hearer = outside[other(breaker)];
      const isFull = () => hearer.readableLength >= hearer.readableHighWaterMark;
      await until(isFull, "Node has stopped reading"); // or it closes what is asked below
      outside[breaker].resetAndDestroy();
      await until(() => outside[breaker].closed, "the reset is sent");
      // Asked of the system itself, because Node takes a reset behind unread bytes for an end.
      expect(await howItEnds(hearer)).toBe("ECONNRESET");
      expect(await spliced.over).toMatchObject({ ending: "broken", by: breaker });
    },
  );

  it("resets both sides when it is cut, and keeps the first cause", async () => {
    const { outside, listeners, spliced } = await bench.circuit();
    await recite(outside.caller, 14);
    await listeners.callee.hears(14);
    spliced.cut("idle");
    spliced.cut("shutdown");

    expect(await listeners.caller.hearsTheEnd()).toBe("ECONNRESET");
    expect(await listeners.callee.hearsTheEnd()).toBe("ECONNRESET");
    const bytes = { caller: 14, callee: 0 };
    expect(await spliced.over).toEqual({ ending: "idle", by: "us", bytes });
  });

  it("carries as much as the limit says and no more", async () => {
    const { outside, listeners, spliced } = await bench.circuit({ bytes_max: 1_000 });
    await recite(outside.caller, 600);
    await recite(outside.callee, 400);
    await listeners.callee.hears(600);
    await listeners.caller.hears(400);
    outside.callee.write("!");
    expect(await listeners.caller.hearsTheEnd()).toBe("ECONNRESET");
    expect(await listeners.callee.hearsTheEnd()).toBe("ECONNRESET");
    expect(await spliced.over).toMatchObject({ ending: "limit", by: "us" });
    expect(listeners.caller.size).toBe(400);
  });

  it("gives nobody the bytes of a circuit that reached its limit", async () => {
    const bystander = await bench.circuit();
    const limited = await bench.circuit({ bytes_max: 4 * MIB });
    void recite(limited.outside.caller, 64 * MIB);
    expect(await limited.spliced.over).toMatchObject({ ending: "limit", by: "us" });

    await recite(bystander.outside.caller, 8 * MIB);
    bystander.outside.caller.end();
    expect(await bystander.listeners.callee.hearsTheEnd()).toBe("end");
    expect(bystander.listeners.callee).toMatchObject({ size: 8 * MIB, wrong_at: undefined });
  });

  it("passes on nothing of a first word that is over the limit", async () => {
    const { outside, lines } = await bench.arrivals(Buffer.alloc(500));
    const listening = new Listening(outside.caller);
    const { over } = bench.engine.splice(lines, { bytes_max: 100 });
    expect(await over).toMatchObject({ ending: "limit", by: "us" });
    expect(await listening.hearsTheEnd()).toBe("ECONNRESET");
    expect(listening.size).toBe(0);
  });

  it("does not hang up what it has spliced, nor anything twice", async () => {
    const { outside, lines } = await bench.arrivals();
    const listening = new Listening(outside.callee);
    const { over } = bench.engine.splice(lines, NO_LIMIT);
    lines.caller.hangUp(Buffer.from("alert"));
    const nobody = await bench.entrance.enter();
    bench.use(nobody.outside);
    nobody.leg.line.hangUp();
    nobody.leg.line.hangUp(Buffer.from("alert"));
    // What comes in now may have the number of one that is gone.
    const late = await bench.arrivals();
    nobody.leg.line.hangUp(Buffer.from("alert"));
    const lateListening = new Listening(late.outside.callee);
    const lateOver = bench.engine.splice(late.lines, NO_LIMIT).over;
    for (const { caller, callee } of [outside, late.outside]) {
      await recite(caller, 1_000);
      caller.end();
      callee.end();
    }
    for (const each of [listening, lateListening]) {
      expect(await each.hearsTheEnd()).toBe("end");
      expect(each).toMatchObject({ size: 1_000, wrong_at: undefined });
    }
    for (const each of [over, lateOver]) expect(await each).toMatchObject({ ending: "done" });
  });

  it("counts from nothing for each circuit", async () => {
    const first = await bench.circuit();
    await recite(first.outside.caller, 1_000);
    first.outside.caller.end();
    first.outside.callee.end();
    await first.spliced.over;
    const { lines } = await bench.arrivals();
    const spliced = bench.engine.splice(lines, NO_LIMIT);
    expect(spliced.bytes).toEqual({ caller: 0, callee: 0 });
    expect(performance.now() - spliced.moved_at).toBeLessThan(5_000);
    spliced.cut("shutdown");
    await spliced.over;
  });

  it("knows when bytes last moved", async () => {
    const { outside, listeners, spliced } = await bench.circuit();
    await recite(outside.callee, 1);
    await listeners.caller.hears(1);
    const before = spliced.moved_at;
    expect(Math.abs(performance.now() - before)).toBeLessThan(5_000);
    await until(() => performance.now() > before + 2, "the clock moves");
    await recite(outside.callee, 1, 1);
    await listeners.caller.hears(2);
    expect(spliced.moved_at).toBeGreaterThan(before);
    spliced.cut("shutdown");
    await spliced.over;
  });

  it("hangs up on one that nobody wants, and lets its last words out", async () => {
    const { outside, leg } = await bench.entrance.enter();
    bench.use(outside);
    const ear = new Ear(outside);
    leg.line.hangUp(Buffer.from("nobody is here"));
    expect(await ear.hearsTheEnd()).toBe("end");
    expect(ear.bytes.toString()).toBe("nobody is here");
  });

  it("keeps two thousand circuits apart", async () => {
    const count = 2_000;
    const sizes = Array.from({ length: count }, (_, i) => 1 + ((i * 7_919) % 60_000));
    const hashes: string[] = [];
    const speeches: string[] = [];
    const splices: Splice[] = [];
    // They come in a hundred at a time, and all are open before the first one speaks.
    const parties: Array<Awaited<ReturnType<typeof bench.arrivals>>["outside"]> = [];
    while (parties.length < count) {
      const some = await Promise.all(Array.from({ length: 100 }, () => bench.arrivals()));
      for (const { outside, lines } of some) {
        parties.push(outside);
        splices.push(bench.engine.splice(lines, NO_LIMIT));
      }
    }
    await Promise.all(
      sizes.map(async (size, i) => {
        const { caller, callee } = parties[i] as (typeof parties)[number];
        const [said, hash] = [randomBytes(size), createHash("sha256")];
        speeches[i] = sha256(said);
        callee.on("data", (chunk: Buffer) => hash.update(chunk));
        const ended = once(callee, "end");
        caller.end(said);
        await ended;
        hashes[i] = hash.digest("hex");
        callee.end();
      }),
    );
    expect(hashes).toEqual(speeches);
    const outcomes = await Promise.all(splices.map(({ over }) => over));
    expect(outcomes.filter(({ ending }) => ending !== "done")).toEqual([]);
  });

  it("says what it is", () => {
    expect(bench.engine.name).toBe(name);
  });
});
