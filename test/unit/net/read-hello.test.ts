import { randomBytes } from "node:crypto";
import { setImmediate as turn } from "node:timers/promises";
import fc from "fast-check";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { readExactly } from "../../../src/net/read-hello.ts";
import { until } from "../../support/until.ts";
import { Ear, say, Wires } from "../../support/wires.ts";

const SIZE = 32;
const never = new AbortController().signal;

describe("reading exactly so many bytes", () => {
  let wires: Wires;
  beforeAll(async () => {
    wires = await Wires.open();
  });
  afterEach(() => wires.hangUp());
  afterAll(async () => {
    await wires[Symbol.asyncDispose]();
  });

  it("takes these and no others, however the stream is cut", async () => {
    const rest = fc
      .uint8Array({ maxLength: 70_000, size: "max" })
      .map((array) => Buffer.from(array));
    const cuts = fc.array(fc.integer({ min: 1, max: SIZE + 20 }), { maxLength: SIZE });
    await fc.assert(
      fc.asyncProperty(cuts, rest, fc.boolean(), async (cuts, rest, waits) => {
        const { dialled, accepted } = await wires.connect();
        const hello = randomBytes(SIZE);
        const all = Buffer.concat([hello, rest]);
        const reading = waits ? undefined : readExactly(accepted, SIZE, never);
        let from = 0;
        for (const to of [...new Set(cuts)].sort((a, b) => a - b).concat(all.length)) {
          await say(dialled, all.subarray(from, to));
          from = Math.min(to, all.length);
          await turn();
          await turn();
        }
        dialled.end();
        expect(await (reading ?? readExactly(accepted, SIZE, never))).toEqual(hello);

        const ear = new Ear(accepted);
        accepted.resume();
        await until(() => accepted.readableEnded, "the rest arrives");
        expect(ear.bytes.equals(rest)).toBe(true);
      }),
      { numRuns: 60 },
    );
  });

  it("leaves no listener behind", async () => {
    const { dialled, accepted } = await wires.connect();
    const events = ["readable", "end", "close"];
    const before = events.map((event) => accepted.listenerCount(event));
    dialled.write(randomBytes(SIZE));
    await readExactly(accepted, SIZE, never);
    expect(events.map((event) => accepted.listenerCount(event))).toEqual(before);
  });

  it("lets everybody else go on while it waits for the rest", async () => {
    const { dialled, accepted } = await wires.connect();
    const reading = readExactly(accepted, SIZE, never);
    await say(dialled, "half a hello");
    await until(() => accepted.bytesRead === 12, "half a hello is there");
    for (let turns = 0; turns < 10; turns += 1) await turn(); // hangs for ever if nobody may go on
    await say(dialled, Buffer.alloc(SIZE - 12));
    expect((await reading).toString().startsWith("half a hello")).toBe(true);
  });

  it.each([0, 1, SIZE - 1])("fails when the stream ends after %i bytes", async (size) => {
    const { dialled, accepted } = await wires.connect();
    dialled.end(randomBytes(size));
    await expect(readExactly(accepted, SIZE, never)).rejects.toMatchObject({ fault: "malformed" });
  });

  it("fails when the stream breaks, and when it is gone already", async () => {
    const { dialled, accepted } = await wires.connect();
    const reading = readExactly(accepted, SIZE, never);
    dialled.resetAndDestroy();
    await expect(reading).rejects.toBeDefined();
    await until(() => accepted.closed, "it is gone");
    await expect(readExactly(accepted, SIZE, never)).rejects.toMatchObject({ fault: "malformed" });
  });

  it("ends when it is aborted, and takes nothing", async () => {
    const { dialled, accepted } = await wires.connect();
    const abort = new AbortController();
    const reason = new Error("enough");
    const reading = readExactly(accepted, SIZE, abort.signal);
    await say(dialled, "half a hello");
    await until(() => accepted.bytesRead === 12, "half a hello is there");
    abort.abort(reason);
    await expect(reading).rejects.toBe(reason);
    expect(accepted.read(12)?.toString()).toBe("half a hello");
    await expect(readExactly(accepted, SIZE, abort.signal)).rejects.toBe(reason);
  });
});
