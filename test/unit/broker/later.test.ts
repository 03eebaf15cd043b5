import { describe, expect, it } from "vitest";
import { Later } from "../../../src/broker/later.ts";
import { Deadline } from "../../../src/core/deadline.ts";
import { Fault } from "../../../src/core/fault.ts";

const never = new AbortController().signal;
const address = { operator: "hd-2", method: "look", call: "1" };
const id = "hd-2.look(1)";
const answer = { result: { found: true } };

const later = ({ respond_timeout_ms = 60_000, stop = never } = {}) =>
  new Later({ respond_timeout_ms }, stop);

describe("answers that a service gives later", () => {
  it("reach whoever waits for them, under the id that the service was given", async () => {
    const answers = later();
    using task = answers.open(address, "hd-1");
    expect(task.given).toBe(id);
    const promised = task.promised();
    answers.respond(id, answer);
    expect(await promised).toEqual(answer);
  });

  it("may come before the service has acknowledged the call", async () => {
    const answers = later();
    using task = answers.open(address, "hd-1");
    answers.respond(id, answer);
    expect(await task.promised()).toEqual(answer);
  });

  it("are taken once", async () => {
    const answers = later();
    using task = answers.open(address, "hd-1");
    answers.respond(id, answer);
    expect(() => answers.respond(id, { result: "another" })).toThrow(
      expect.objectContaining({ fault: "conflict" }),
    );
    expect(await task.promised()).toEqual(answer);
  });

  it("are for nobody when nothing was asked, or the task is over", async () => {
    const answers = later();
    const refused = expect.objectContaining({ fault: "not_found" });
    expect(() => answers.respond(id, answer)).toThrow(refused);
    answers.open(address, "hd-1")[Symbol.dispose]();
    expect(() => answers.respond(id, answer)).toThrow(refused);
  });

  it("are waited for as long as the settings say, and not when the endpoint stops", async () => {
    const impatient = later({ respond_timeout_ms: 20 });
    const task = impatient.open(address, "hd-1");
    await expect(task.promised()).rejects.toMatchObject({ fault: "timeout" });
    task[Symbol.dispose]();
    expect(() => impatient.respond(id, answer)).toThrow(
      expect.objectContaining({ fault: "not_found" }),
    );
    const stop = new AbortController();
    using open = later({ stop: stop.signal }).open(address, "hd-1");
    const promised = open.promised();
    const stopping = new Fault("unreachable", "the program is stopping");
    stop.abort(stopping);
    await expect(promised).rejects.toBe(stopping);
  });

  it("tell calls of the same id by two callers apart", async () => {
    const answers = later();
    using one = answers.open(address, "hd-1");
    using other = answers.open(address, "hd-3");
    expect(other.given).not.toBe(one.given);
    answers.respond(other.given, { result: "for hd-3" });
    answers.respond(one.given, { result: "for hd-1" });
    expect(await one.promised()).toEqual({ result: "for hd-1" });
    const pickUp = (caller: string) => answers.pickUp({ id, caller }, 1_000, never);
    expect(await pickUp("hd-3")).toEqual({ result: "for hd-3" });
    expect(await pickUp("hd-1")).toEqual({ result: "for hd-1" });
  });

  it("can be picked up by the caller who lost the connection, before and after they come", async () => {
    const answers = later();
    const task = answers.open(address, "hd-1");
    const asked = { id, caller: "hd-1" };
    expect(await answers.pickUp(asked, 10, never)).toBeUndefined();
    const early = answers.pickUp(asked, 60_000, never);
    answers.respond(id, answer);
    expect(await early).toEqual(answer);
    task[Symbol.dispose]();
    expect(await answers.pickUp(asked, 10, never)).toEqual(answer);
  });

  it("are only pending for whoever has little time to wait, and for nobody who is gone", async () => {
    const answers = later();
    using task = answers.open(address, "hd-1");
    const asked = { id: task.given, caller: "hd-1" };
    using hurry = new Deadline(10, "the question");
    expect(await answers.pickUp(asked, 60_000, hurry.signal)).toBeUndefined();
    const gone = AbortSignal.abort(new Fault("unreachable", "the caller hung up"));
    await expect(answers.pickUp(asked, 60_000, gone)).rejects.toBe(gone.reason);
  });

  it("can be picked up by nobody else", async () => {
    const answers = later();
    using task = answers.open(address, "hd-1");
    answers.respond(task.given, answer);
    for (const asked of [
      { id, caller: "hd-3" },
      { id: "hd-2.look(2)", caller: "hd-1" },
    ]) {
      await expect(answers.pickUp(asked, 10, never)).rejects.toMatchObject({ fault: "not_found" });
    }
  });

  it("are kept for a thousand callers", async () => {
    const answers = later();
    for (let n = 0; n <= 1_000; n += 1) {
      using task = answers.open({ ...address, call: `${n}` }, "hd-1");
      answers.respond(task.given, { result: n });
    }
    const pickUp = (n: number) =>
      answers.pickUp({ id: `hd-2.look(${n})`, caller: "hd-1" }, 10, never);
    await expect(pickUp(0)).rejects.toMatchObject({ fault: "not_found" });
    expect(await pickUp(1)).toEqual({ result: 1 });
    expect(await pickUp(1_000)).toEqual({ result: 1_000 });
  });
});
