import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import type { Socket } from "node:net";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { Side } from "../../src/relay/leg.ts";
import type { Splice } from "../../src/relay/splice/splice.ts";
import { spliceStreams } from "../../src/relay/splice/stream.ts";
import { until } from "../support/until.ts";
import { Ear, openSockets, say, Wires } from "../support/wires.ts";

/** Every engine keeps the same contract. */
const engines: Array<{ name: string; splice: (sockets: Record<Side, Socket>) => Splice }> = [
  { name: "stream", splice: spliceStreams },
];

const MIB = 1024 ** 2;
const BUFFER = 65_536;
const SIZES = [0, 1, BUFFER - 1, BUFFER, BUFFER + 1, MIB - 1, MIB + 1];
const SPEAKERS = [["caller"], ["callee"], ["caller", "callee"]] as const;

const other = (side: Side): Side => (side === "caller" ? "callee" : "caller");
const sha256 = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");

describe.each(engines)("the $name splice", ({ splice }) => {
  let wires: Wires;
  let sockets: number | undefined;

  beforeAll(async () => {
    wires = await Wires.open();
  });
  afterAll(async () => {
    await wires[Symbol.asyncDispose]();
  });
  beforeEach(() => {
    sockets = openSockets();
  });
  afterEach(async () => {
    wires.hangUp();
    await until(
      () => openSockets() === sockets,
      () => `${sockets} sockets are left (there are ${openSockets()})`,
    );
  });

  /** Two parties and the circuit between them: what they hold, and what the splice holds. */
  async function circuit() {
    const { outside, inside } = await apart();
    const ears = { caller: new Ear(outside.caller), callee: new Ear(outside.callee) };
    return { outside, inside, ears, spliced: splice(inside) };
  }

  async function apart() {
    const [caller, callee] = [await wires.connect(), await wires.connect()];
    return {
      outside: { caller: caller.dialled, callee: callee.dialled },
      inside: { caller: caller.accepted, callee: callee.accepted },
    };
  }

  const matrix = SPEAKERS.flatMap((speakers) => SIZES.map((size) => ({ speakers, size })));

  describe.each(matrix)("when $size bytes go from $speakers", ({ speakers, size }) => {
    const speech = { caller: randomBytes(size), callee: randomBytes(size) };
    const expected = {
      caller: (speakers as readonly Side[]).includes("caller") ? size : 0,
      callee: (speakers as readonly Side[]).includes("callee") ? size : 0,
    };

    it("carries them unchanged, and both sides end", async () => {
      const { outside, ears, spliced } = await circuit();
      for (const speaker of speakers) outside[speaker].write(speech[speaker]);
      outside.caller.end();
      outside.callee.end();

      expect(await spliced.over).toMatchObject({ ending: "done", bytes: expected });
      for (const side of ["caller", "callee"] as const) {
        expect(await ears[side].hearsTheEnd()).toBe("end");
        const said = expected[other(side)] > 0 ? speech[other(side)] : Buffer.alloc(0);
        expect(sha256(ears[side].bytes)).toBe(sha256(said));
      }
    });

    it("lets a side that finished speaking still hear the answer", async () => {
      const { outside, ears, spliced } = await circuit();
      const first = speakers[0];
      const second = other(first);
      for (const speaker of speakers) outside[speaker].write(speech[speaker]);
      outside[first].end();

      expect(await ears[second].hearsTheEnd()).toBe("end");
      expect(sha256(ears[second].bytes)).toBe(sha256(speech[first]));

      const answer = randomBytes(size + 1);
      outside[second].end(answer);
      expect(await ears[first].hearsTheEnd()).toBe("end");
      const before = expected[second] > 0 ? speech[second] : Buffer.alloc(0);
      expect(sha256(ears[first].bytes)).toBe(sha256(Buffer.concat([before, answer])));

      const { ending, by, bytes } = await spliced.over;
      expect({ ending, by }).toEqual({ ending: "done", by: first });
      expect(bytes[second]).toBe(before.length + answer.length);
    });

    it("resets the partner of a side that breaks after them", async () => {
      const { outside, ears, spliced } = await circuit();
      const breaker = speakers[0];
      for (const speaker of speakers) outside[speaker].write(speech[speaker]);
      for (const speaker of speakers) {
        expect(sha256(await ears[other(speaker)].hears(size))).toBe(sha256(speech[speaker]));
      }
      outside[breaker].resetAndDestroy();

      expect(await ears[other(breaker)].hearsTheEnd()).toBe("ECONNRESET");
      expect(await spliced.over).toEqual({ ending: "broken", by: breaker, bytes: expected });
    });
  });

  it.each(["caller", "callee"] as const)(
    "resets the partner of a %s that ended and then broke",
    async (breaker) => {
      const { outside, ears, spliced } = await circuit();
      const partner = other(breaker);
      outside[breaker].end("half a sentence");
      expect(await ears[partner].hearsTheEnd()).toBe("end");
      outside[breaker].resetAndDestroy();
      // The partner is still talking, and hears of it as soon as it says something.
      await until(() => {
        outside[partner].write("anybody there?");
        return outside[partner].closed;
      }, "the partner is cut off");
      expect(outside[partner].errored).toBeInstanceOf(Error);
      expect(await spliced.over).toMatchObject({ ending: "broken", by: breaker });
    },
  );

  it("loses nothing that was buffered before it began", async () => {
    const { outside, inside } = await apart();
    const said = randomBytes(100_000);
    await say(outside.caller, said);
    // A door reads a hello: then part of what follows it is in the socket's buffer already.
    await until(() => inside.caller.readableLength === 0, "nothing is read yet");
    inside.caller.once("readable", () => {});
    await until(() => inside.caller.readableLength >= 32, "a hello is buffered");
    const hello = inside.caller.read(32) as Buffer;
    expect(inside.caller.readableLength).toBeGreaterThan(0);
    inside.callee.unshift(Buffer.from("the callee was early"));

    const ears = { caller: new Ear(outside.caller), callee: new Ear(outside.callee) };
    const { over } = splice(inside);
    outside.caller.end();
    outside.callee.end(", too");
    expect(await ears.callee.hearsTheEnd()).toBe("end");
    expect(sha256(Buffer.concat([hello, ears.callee.bytes]))).toBe(sha256(said));
    expect(await ears.caller.hearsTheEnd()).toBe("end");
    expect(ears.caller.bytes.toString()).toBe("the callee was early, too");
    expect(await over).toMatchObject({ ending: "done", bytes: { caller: said.length - 32 } });
  });

  it("passes on an end that was read before it began", async () => {
    const { outside, inside } = await apart();
    outside.caller.end("hello");
    inside.caller.once("readable", () => {});
    await until(() => inside.caller.readableLength === 5, "the hello is buffered");
    const ended = once(inside.caller, "end");
    inside.caller.read(5);
    inside.caller.read();
    await ended;

    const ears = { caller: new Ear(outside.caller), callee: new Ear(outside.callee) };
    const { over } = splice(inside);
    expect(await ears.callee.hearsTheEnd()).toBe("end");
    outside.callee.end("still here");
    expect(await ears.caller.hearsTheEnd()).toBe("end");
    expect(ears.caller.bytes.toString()).toBe("still here");
    expect(await over).toMatchObject({ ending: "done", bytes: { caller: 0, callee: 10 } });
  });

  it.each(["caller", "callee"] as const)(
    "resets the partner of a %s that was gone before it began",
    async (gone) => {
      const { outside, inside } = await apart();
      inside[gone].resume();
      outside[gone].resetAndDestroy();
      await until(() => inside[gone].closed, "the leg is gone");

      const ear = new Ear(outside[other(gone)]);
      const { over } = splice(inside);
      expect(await ear.hearsTheEnd()).toBe("ECONNRESET");
      expect(await over).toMatchObject({ ending: "broken", by: gone });
    },
  );

  it("makes a writer wait for a slow reader, and holds at most one buffer meanwhile", async () => {
    const { outside, inside } = await apart();
    let held = 0;
    const spliced = splice(inside);
    inside.caller.on("data", () => {
      held = Math.max(held, inside.callee.writableLength);
    });
    const ear = new Ear(outside.caller); // the callee listens to nothing yet
    const said = randomBytes(64 * MIB); // far more than the kernel's buffers take
    outside.caller.end(said);
    let moved = -1;
    let quiet = 0;
    await until(() => {
      quiet = moved === inside.caller.bytesRead ? quiet + 1 : 0;
      moved = inside.caller.bytesRead;
      return moved > 0 && quiet >= 20;
    }, "the writer is stopped");
    expect(moved).toBeLessThan(said.length);
    expect(held).toBeLessThanOrEqual(2 * BUFFER);

    const hash = createHash("sha256");
    outside.callee.on("data", (chunk: Buffer) => hash.update(chunk));
    await once(outside.callee, "end");
    expect(hash.digest("hex")).toBe(sha256(said));
    expect(held).toBeLessThanOrEqual(2 * BUFFER);
    outside.callee.end();
    expect(await ear.hearsTheEnd()).toBe("end");
    expect(await spliced.over).toMatchObject({ ending: "done", bytes: { caller: said.length } });
  });

  it("lets one direction flow while the other is stopped", async () => {
    const { outside, inside, spliced } = await (async () => {
      const { outside, inside } = await apart();
      return { outside, inside, spliced: splice(inside) };
    })();
    outside.caller.write(randomBytes(64 * MIB));
    await until(() => inside.caller.isPaused() || inside.callee.writableNeedDrain, "it is stopped");

    const ear = new Ear(outside.caller);
    const said = randomBytes(3 * MIB);
    outside.callee.write(said);
    expect(sha256(await ear.hears(said.length))).toBe(sha256(said));
    spliced.cut("shutdown");
    expect(await spliced.over).toMatchObject({ ending: "shutdown", by: "us" });
  });

  it.each(["caller", "callee"] as const)(
    "does not end what it carries for a %s that broke behind unread bytes",
    async (breaker) => {
      const { outside, inside } = await apart();
      const spliced = splice(inside);
      outside[breaker].write(randomBytes(64 * MIB)); // more than anybody takes before the reset
      const partner = outside[other(breaker)];
      await until(() => inside[breaker].bytesRead > 0, "the splice is reading");
      outside[breaker].resetAndDestroy();
      await until(() => outside[breaker].closed, "the reset is sent");

      let ended = false;
      partner.on("end", () => {
        ended = true;
      });
      partner.resume();
      expect(await spliced.over).toMatchObject({ ending: "broken", by: breaker });
      expect(ended).toBe(false);
    },
  );

  it.each(["caller", "callee"] as const)(
    "can be cut in the moment in which the %s ends",
    async (side) => {
      const { outside, inside, ears, spliced } = await circuit();
      const partner = inside[other(side)];
      const ending = new Promise<void>((resolve) => {
        const end = partner.end.bind(partner);
        partner.end = ((...args: []) => {
          end(...args);
          spliced.cut("shutdown"); // the end is on its way, and no socket can be reset just now
          resolve();
          return partner;
        }) as typeof partner.end;
      });
      outside[side].end("last words");
      await ending;
      expect(await spliced.over).toMatchObject({ ending: "shutdown", by: "us" });
      await ears[other(side)].hearsTheEnd();
    },
  );

  it("resets both sides when it is cut, and keeps the first cause", async () => {
    const { outside, ears, spliced } = await circuit();
    outside.caller.write("so far so good");
    await ears.callee.hears(14);
    spliced.cut("idle");
    spliced.cut("shutdown");

    expect(await ears.caller.hearsTheEnd()).toBe("ECONNRESET");
    expect(await ears.callee.hearsTheEnd()).toBe("ECONNRESET");
    const bytes = { caller: 14, callee: 0 };
    expect(await spliced.over).toEqual({ ending: "idle", by: "us", bytes });
  });

  it("knows when bytes last moved", async () => {
    const { outside, ears, spliced } = await circuit();
    const before = spliced.moved_at;
    await until(() => performance.now() > before + 2, "the clock moves");
    outside.callee.write("x");
    await ears.caller.hears(1);
    expect(spliced.moved_at).toBeGreaterThan(before);
    spliced.cut("shutdown");
    await spliced.over;
  });
});
