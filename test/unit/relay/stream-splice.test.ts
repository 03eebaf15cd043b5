import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { spliceStreams } from "../../../src/relay/stream/splice.ts";
import { both, MIB, other } from "../../support/splice-matrix.ts";
import { until } from "../../support/until.ts";
import { Ear, Wires } from "../../support/wires.ts";

const BUFFER = 65_536;

/** What only this splice can do wrong; the rest is in the contract that all keep. */
describe("the splice of Node's streams", () => {
  let wires: Wires;
  beforeAll(async () => {
    wires = await Wires.open();
  });
  afterEach(() => wires.hangUp());
  afterAll(async () => {
    await wires[Symbol.asyncDispose]();
  });

  async function circuit() {
    const [caller, callee] = [await wires.connect(), await wires.connect()];
    const outside = { caller: caller.dialled, callee: callee.dialled };
    const inside = { caller: caller.accepted, callee: callee.accepted };
    return { outside, inside, spliced: spliceStreams(inside) };
  }

  it("holds at most one buffer for a slow reader", async () => {
    const { outside, inside, spliced } = await circuit();
    let held = 0;
    const write = inside.callee.write.bind(inside.callee) as (...args: unknown[]) => boolean;
    inside.callee.write = (...args: unknown[]) => {
      const more = write(...args);
      held = Math.max(held, inside.callee.writableLength);
      return more;
    };
    outside.caller.end(randomBytes(16 * MIB));
    await until(() => inside.callee.writableNeedDrain, "the reader is slower");
    outside.callee.resume();
    await once(outside.callee, "end");
    expect(held).toBeGreaterThan(0);
    expect(held).toBeLessThanOrEqual(2 * BUFFER);
    outside.callee.end();
    outside.caller.resume();
    expect(await spliced.over).toMatchObject({ ending: "done" });
  });

  it.each(both)("can be cut in the moment in which the %s ends", async (side) => {
    const { outside, inside, spliced } = await circuit();
    const ear = new Ear(outside[other(side)]);
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
    await ear.hearsTheEnd();
  });
});
