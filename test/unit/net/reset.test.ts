import { once } from "node:events";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { reset } from "../../../src/net/reset.ts";
import { Ear, Wires } from "../../support/wires.ts";

describe("a connection that is reset", () => {
  let wires: Wires;
  beforeAll(async () => {
    wires = await Wires.open();
  });
  afterAll(async () => {
    await wires[Symbol.asyncDispose]();
  });

  it("looks broken to the other side", async () => {
    const { dialled, accepted } = await wires.connect();
    const ear = new Ear(dialled);
    reset(accepted);
    expect(await ear.hearsTheEnd()).toBe("ECONNRESET");
  });

  it("is closed also while the end that it said is on its way", async () => {
    const { dialled, accepted } = await wires.connect();
    dialled.resume();
    const closed = once(accepted, "close");
    accepted.end();
    await new Promise(process.nextTick); // the end is asked for, and not sent yet
    reset(accepted);
    await closed;
    expect(accepted.errored).toBeNull();
  });
});
