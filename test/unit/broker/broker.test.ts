import { describe, expect, it } from "vitest";
import { Broker } from "../../../src/broker/broker.ts";
import type { Call, Channel } from "../../../src/broker/channel.ts";
import { BrokerEvents } from "../../../src/broker/events.ts";
import { aborted } from "../../../src/core/deadline.ts";
import { Fault } from "../../../src/core/fault.ts";
import { silent } from "../../../src/core/log.ts";
import { openMetrics } from "../../../src/core/metrics.ts";
import { UnansweredFault } from "../../../src/rpc/grpc/client.ts";
import type { Answer } from "../../../src/wire/answer.ts";
import type { JsonObject } from "../../../src/wire/json.ts";
import { MemoryDirectory, operator, service } from "../../support/directory.ts";
import { until } from "../../support/until.ts";

const never = new AbortController().signal;

/** A channel that reaches some operators and keeps what it is given. */
class Reaching implements Channel {
  readonly type: string;
  readonly taken: Call[] = [];
  readonly #operators: string[];
  readonly #answer: (call: Call, signal: AbortSignal) => Promise<Answer | undefined>;

  constructor(
    type: string,
    operators: string[],
    answer: (call: Call, signal: AbortSignal) => Promise<Answer | undefined> = async () => ({
      result: `by ${type}`,
    }),
  ) {
    this.type = type;
    this.#operators = operators;
    this.#answer = answer;
  }

  reaches(name: string): boolean {
    return this.#operators.includes(name);
  }

  deliver(call: Call, signal: AbortSignal): Promise<Answer | undefined> {
    this.taken.push(call);
    return this.#answer(call, signal);
  }
}

const TIMES = { call_timeout_ms: 60_000, respond_timeout_ms: 60_000 };

function hd2Broker(directory: MemoryDirectory, times: Partial<typeof TIMES> = {}): Broker {
  const events = new BrokerEvents({ log: silent, metrics: openMetrics() });
  return new Broker({ self: "hd-2", ...TIMES, ...times }, { directory, events });
}

/** hd-2's broker. Health departments may call `add` and `_ping`; hd-1 is one, lab-1 is none. */
function hd2(...channels: Channel[]) {
  const directory = new MemoryDirectory(
    operator("hd-1", { groups: ["health-departments"] }),
    operator("hd-2", { services: [service("health-departments", "add", "_ping")] }),
    operator("lab-1", { groups: ["labs"] }),
  );
  const broker = hd2Broker(directory);
  for (const channel of channels) broker.add(channel);
  return { broker, directory };
}

const message = (
  caller: string,
  { to = "hd-2", method = "add", call = "1", params = {} as JsonObject } = {},
) => ({ address: { operator: to, method, call }, params, caller });

describe("the broker", () => {
  it("delivers a call by the first channel that reaches the operator", async () => {
    const [a, b, c] = [
      new Reaching("a", ["hd-1"]),
      new Reaching("b", ["hd-2"]),
      new Reaching("c", ["hd-2"]),
    ];
    const { broker } = hd2(a, b, c);
    expect(await broker.deliver(message("hd-1"), never)).toEqual({ result: "by b" });
    expect([a, b, c].map(({ taken }) => taken.length)).toEqual([0, 1, 0]);
  });

  it("says who calls, whatever the caller says", async () => {
    const channel = new Reaching("a", ["hd-2"]);
    const { broker } = hd2(channel);
    const params = { x: 1, _client: { name: "hd-2" } };
    await broker.deliver(message("hd-1", { params }), never);
    const [taken] = channel.taken;
    expect(taken?.params).toEqual({
      x: 1,
      _client: {
        name: "hd-1",
        entry: expect.objectContaining({ name: "hd-1", channels: [], records: [] }),
      },
    });
    expect(taken?.caller.name).toBe("hd-1");
    expect(params._client).toEqual({ name: "hd-2" });
  });

  describe("refuses", () => {
    it.each([
      ["a method that the caller's groups may not call", message("lab-1")],
      ["a method that nobody may call", message("hd-1", { method: "delete" })],
      [
        "an internal method that the directory permits nobody",
        message("lab-1", { method: "_ping" }),
      ],
      ["to pass on a call of somebody else", message("hd-1", { to: "lab-1" })],
      ["to send a caller back to himself", message("hd-1", { to: "hd-1" })],
    ])("%s", async (_, refused) => {
      const channel = new Reaching("a", ["hd-1", "hd-2", "lab-1"]);
      const { broker } = hd2(channel);
      let answered = false;
      broker.answer("_ping", () => {
        answered = true;
        return {};
      });
      const answer = await broker.deliver(refused, never);
      expect(answer).toMatchObject({ error: { code: 403, data: { fault: "forbidden" } } });
      expect(channel.taken).toEqual([]);
      expect(answered).toBe(false);
    });

    it("in the words of the original", async () => {
      const { broker } = hd2();
      const answer = await broker.deliver(message("lab-1"), never);
      expect(answer).toMatchObject({
        error: { message: "Permission denied for method 'add' and client 'lab-1'" },
      });
    });

    it.each([
      ["a caller whom the directory does not know", message("stranger"), "client 'stranger'"],
      ["a recipient whom it does not know", message("hd-2", { to: "hd-9" }), "recipient 'hd-9'"],
    ])("%s", async (_, refused, whom) => {
      const { broker } = hd2(new Reaching("a", ["hd-2", "hd-9"]));
      await expect(broker.deliver(refused, never)).rejects.toMatchObject({
        fault: "not_found",
        message: `error retrieving directory entry for ${whom}: no directory entry found`,
      });
    });

    it("everything while its own entry is missing", async () => {
      const directory = new MemoryDirectory(operator("hd-1"));
      const broker = hd2Broker(directory);
      await expect(broker.deliver(message("hd-1"), never)).rejects.toMatchObject({
        fault: "not_found",
        message: expect.stringContaining("our own name 'hd-2'"),
      });
    });
  });

  it("asks nobody's permission for its own calls", async () => {
    const { broker } = hd2(new Reaching("a", ["lab-1", "hd-2"]));
    expect(await broker.deliver(message("hd-2", { to: "lab-1" }), never)).toEqual({
      result: "by a",
    });
    expect(await broker.deliver(message("hd-2", { method: "delete" }), never)).toEqual({
      result: "by a",
    });
  });

  it("answers its internal methods itself, and only for itself", async () => {
    const channel = new Reaching("a", ["hd-2", "lab-1"]);
    const { broker } = hd2(channel);
    broker.answer("_ping", ({ caller }) => ({ hello: caller.name }));
    const ping = { method: "_ping" };
    expect(await broker.deliver(message("hd-1", ping), never)).toEqual({
      result: { hello: "hd-1" },
    });
    expect(channel.taken).toEqual([]);
    const elsewhere = message("hd-2", { ...ping, to: "lab-1" });
    expect(await broker.deliver(elsewhere, never)).toEqual({ result: "by a" });
  });

  it("asks the directory anew for every call", async () => {
    const { broker, directory } = hd2(new Reaching("a", ["hd-2"]));
    expect(await broker.deliver(message("hd-1"), never)).toEqual({ result: "by a" });
    directory.set(operator("hd-1"));
    expect(await broker.deliver(message("hd-1"), never)).toMatchObject({ error: { code: 403 } });
  });

  it("says why nobody can be reached", async () => {
    const { broker } = hd2();
    await expect(broker.deliver(message("hd-1"), never)).rejects.toMatchObject({
      fault: "unreachable",
      message: expect.stringMatching(/^no channel can deliver this request .*jsonrpc_client/),
    });
    await expect(broker.deliver(message("hd-2", { to: "lab-1" }), never)).rejects.toMatchObject({
      message: expect.stringContaining("lab-1 has no address to dial"),
    });
  });

  it("answers 500 for what a channel could not deliver, and asks no other", async () => {
    const failing = new Reaching("grpc_client", ["hd-2"], async () => {
      throw new Fault("timeout", "took too long", { cause: new Error("secret") });
    });
    const next = new Reaching("b", ["hd-2"]);
    const { broker } = hd2(failing, next);
    expect(await broker.deliver(message("hd-1"), never)).toEqual({
      error: {
        code: 500,
        message: "Channel grpc_client encountered an error delivering the message: took too long",
        data: { fault: "timeout" },
      },
    });
    expect(next.taken).toEqual([]);
  });

  it("hides no bug of a channel behind an answer", async () => {
    const bug = new TypeError("undefined is not a function");
    const broken = new Reaching("a", ["hd-2"], async () => {
      throw bug;
    });
    const { broker } = hd2(broken);
    const fault = { fault: "internal", cause: bug };
    await expect(broker.deliver(message("hd-1"), never)).rejects.toMatchObject(fault);
  });

  it("passes on answers and error answers as they are, and none as none", async () => {
    const answers: Array<Answer | undefined> = [
      { result: null },
      { error: { code: -5, message: "theirs", data: [1] } },
      undefined,
    ];
    for (const answer of answers) {
      const { broker } = hd2(new Reaching("a", ["hd-2"], async () => answer));
      expect(await broker.deliver(message("hd-1"), never)).toEqual(answer);
    }
  });

  it("takes a call once while it is under way, and each caller's for itself", async () => {
    let finish = (): void => {};
    const slow = new Reaching("a", ["hd-2"], () => {
      return new Promise((resolve) => {
        finish = () => resolve({ result: 1 });
      });
    });
    const { broker, directory } = hd2(slow);
    directory.set(operator("hd-3", { groups: ["health-departments"] }));
    const first = broker.deliver(message("hd-1"), never);
    await until(() => slow.taken.length === 1, "the first is under way");
    await expect(broker.deliver(message("hd-1"), never)).rejects.toMatchObject({
      fault: "conflict",
      message: "request hd-2.add(1) is already being processed",
    });
    finish();
    expect(await first).toEqual({ result: 1 });

    const others = [
      broker.deliver(message("hd-1"), never), // over, so it may come again
      broker.deliver(message("hd-3"), never),
      broker.deliver(message("hd-1", { call: "2" }), never),
    ];
    for (const [index, other] of others.entries()) {
      await until(() => slow.taken.length >= 2 + index, "it is taken");
      void other.catch(() => {});
    }
    expect(slow.taken.length).toBe(4);
  });

  it("gives the channel the caller's signal, and tells its reason", async () => {
    const channel = new Reaching("a", ["hd-2"], async (_, signal) => {
      await aborted(signal);
      throw new Error("aborted");
    });
    const { broker } = hd2(channel);
    const hangUp = new AbortController();
    const answer = broker.deliver(message("hd-1"), hangUp.signal);
    await until(() => channel.taken.length === 1, "it is under way");
    hangUp.abort(new Fault("timeout", "took longer than 1 s"));
    expect(await answer).toMatchObject({ error: { code: 500, data: { fault: "timeout" } } });
  });

  describe("asks after a call that was sent and lost", () => {
    const lost = new UnansweredFault(new Fault("unreachable", "the connection broke"));
    const given: Answer = { result: { found: 1 } };

    /** A way to lab-1 on which calls are lost; what is said to questions after them comes in order. */
    function lossy(...told: Array<Answer | Fault>) {
      const channel = new Reaching("grpc_client", ["lab-1"], async ({ address }) => {
        if (address.method !== "_pickUp") throw lost;
        const next = told.shift();
        if (!next || next instanceof Fault) throw next ?? new Error("asked too often");
        return next;
      });
      const { broker } = hd2(channel);
      const call = { to: "lab-1", call: "1~V1StGXR8_Z" };
      const answer = broker.deliver(message("hd-2", call), never);
      const questions = () =>
        channel.taken.slice(1).map(({ address, params }) => [address, params]);
      return { answer, questions };
    }

    it("and brings back the answer that was promised, however long it takes", async () => {
      const away = new Fault("unreachable", "not there yet");
      const { answer, questions } = lossy(
        away,
        { result: { pending: true } },
        { result: { pending: true } },
        { result: { answer: given } },
      );
      expect(await answer).toEqual(given);
      expect(questions()).toHaveLength(4);
      for (const [address, params] of questions()) {
        expect(address).toMatchObject({
          operator: "lab-1",
          call: expect.stringMatching(/~V1StGXR8_Z$/),
        });
        expect(params).toEqual({ id: "lab-1.add(1~V1StGXR8_Z)" });
      }
    });

    it("and tells of the loss when the other side knows nothing, or cannot be asked", async () => {
      for (const told of [
        { error: { code: 403, message: "Permission denied" } }, // an original
        { result: { something: "else" } },
      ]) {
        expect(await lossy(told).answer).toMatchObject({
          error: { code: 500, message: expect.stringContaining("the connection broke") },
        });
      }
    });

    it("but not after one that was never sent", async () => {
      const channel = new Reaching("grpc_client", ["lab-1"], async () => {
        throw new Fault("unreachable", "nobody there");
      });
      const { broker } = hd2(channel);
      const answer = await broker.deliver(message("hd-2", { to: "lab-1" }), never);
      expect(answer).toMatchObject({ error: { code: 500 } });
      expect(channel.taken).toHaveLength(1);
    });

    it("but not for a caller who has hung up", async () => {
      const hangUp = new AbortController();
      const channel = new Reaching("grpc_client", ["lab-1"], async () => {
        hangUp.abort(new Fault("unreachable", "the caller hung up"));
        throw lost;
      });
      const { broker } = hd2(channel);
      await broker.deliver(message("hd-2", { to: "lab-1" }), hangUp.signal);
      expect(channel.taken.length).toBeLessThanOrEqual(2);
    });
  });

  it("gives a call no longer than the settings say", async () => {
    const directory = new MemoryDirectory(operator("hd-2"));
    const broker = hd2Broker(directory, { call_timeout_ms: 10 });
    broker.add(
      new Reaching("a", ["hd-2"], async (_, signal) => {
        await aborted(signal);
        throw signal.reason;
      }),
    );
    const answer = await broker.deliver(message("hd-2"), never);
    expect(answer).toMatchObject({ error: { code: 500, data: { fault: "timeout" } } });
  });
});
