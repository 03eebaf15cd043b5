import { EventEmitter } from "node:events";
import { describe, expect, it } from "vitest";
import { ConnectedClient } from "../../../src/broker/channels/connected-client.ts";
import { addressOf } from "../../../src/broker/channels/grpc-server.ts";
import { Fault } from "../../../src/core/fault.ts";
import type { WireRequest } from "../../../src/rpc/grpc/messages.ts";
import type { ReverseStream } from "../../../src/rpc/grpc/server.ts";
import type { Struct } from "../../../src/wire/struct.ts";

const never = new AbortController().signal;
const leaf = { names: ["hd-1"], fingerprint: "f1" };

/** The server's end of a stream as grpc-js shows it, without a connection below. */
class Stream extends EventEmitter {
  readonly written: WireRequest[] = [];
  write(request: WireRequest): boolean {
    this.written.push(request);
    return true;
  }
}

function client() {
  const stream = new Stream();
  const errors: unknown[] = [];
  stream.on("error", (error) => errors.push(error));
  const connected = new ConnectedClient("hd-1", leaf, stream as unknown as ReverseStream);
  const call = (id: string, signal = never) =>
    connected.call(
      { address: { operator: "hd-1", method: "add", call: id }, params: { x: id }, from: "hd-2" },
      signal,
    );
  const answer = (id: string, text: string): void => {
    const result: Struct = { fields: { text: { kind: "stringValue", stringValue: text } } };
    stream.emit("data", { id: `hd-1.add(${id})`, result, error: null });
  };
  return { stream, connected, call, answer, errors };
}

describe("an operator that is connected by a reverse stream", () => {
  it("is called by id, method and our name", async () => {
    const { call, answer, stream } = client();
    const waiting = call("1");
    expect(stream.written).toMatchObject([
      { id: "hd-1.add(1)", method: "hd-1.add", clientName: "hd-2" },
    ]);
    expect(stream.written[0]?.params?.fields["x"]).toEqual({ stringValue: "1" });
    answer("1", "done");
    expect(await waiting).toEqual({ result: { text: "done" } });
  });

  it("may answer in any order", async () => {
    const { call, answer } = client();
    const waiting = ["1", "2", "3"].map((id) => call(id));
    for (const id of ["3", "1", "2"]) answer(id, `to ${id}`);
    expect(await Promise.all(waiting)).toEqual(
      ["1", "2", "3"].map((id) => ({ result: { text: `to ${id}` } })),
    );
  });

  it("is not believed when it answers late, twice or nobody", async () => {
    const { call, answer } = client();
    const hangUp = new AbortController();
    const reason = new Fault("timeout", "took too long");
    const abandoned = call("1", hangUp.signal);
    hangUp.abort(reason);
    await expect(abandoned).rejects.toMatchObject({ fault: "timeout", message: "took too long" });

    const next = call("2");
    answer("1", "late");
    answer("9", "nobody's");
    answer("2", "right");
    answer("2", "again");
    expect(await next).toEqual({ result: { text: "right" } });
    const again = call("1"); // free again
    answer("1", "new");
    expect(await again).toEqual({ result: { text: "new" } });
  });

  it("is not asked twice at once with the same id", async () => {
    const { call, answer, stream } = client();
    const waiting = call("1");
    await expect((async () => call("1"))()).rejects.toMatchObject({ fault: "conflict" });
    expect(stream.written.length).toBe(1);
    answer("1", "done");
    await waiting;
  });

  it("is not asked for more than it can have open", async () => {
    const { call, answer } = client();
    const waiting = Array.from({ length: 1_000 }, (_, index) =>
      call(`${index}`, new AbortController().signal),
    );
    await expect((async () => call("one more"))()).rejects.toMatchObject({ fault: "overloaded" });
    answer("0", "done");
    await waiting[0];
    const more = call("one more");
    for (let index = 1; index < 1_000; index += 1) answer(`${index}`, "");
    answer("one more", "fits");
    expect(await more).toEqual({ result: { text: "fits" } });
    await Promise.all(waiting);
  });

  it("is not asked with a signal that has aborted already", async () => {
    const { call, answer, stream } = client();
    const reason = new Error("enough");
    await expect(call("1", AbortSignal.abort(reason))).rejects.toBe(reason);
    expect(stream.written).toEqual([]);
    const waiting = call("1");
    answer("1", "done");
    await waiting;
  });

  it.each(["cancelled", "close", "error"])(
    "fails what waits when its stream says %s",
    async (event) => {
      const { call, connected, stream } = client();
      const waiting = [call("1"), call("2")];
      stream.emit(event, new Error("gone"));
      for (const each of waiting) {
        await expect(each).rejects.toMatchObject({
          fault: "unreachable",
          message: "client disconnected: hd-1 went away",
        });
      }
      await connected.closed;
    },
  );

  it("is told with an error when it ends its side, never with a clean end", async () => {
    const { stream, errors, connected } = client();
    stream.emit("end");
    expect(errors).toMatchObject([{ code: 14 }]);
    await connected.closed;
  });
});

describe("the address of a request", () => {
  const request = { id: "hd-2.add(1)", method: "hd-2.add", params: null, clientName: "hd-1" };

  it("is what both its id and its method say", () => {
    expect(addressOf(request)).toEqual({ operator: "hd-2", method: "add", call: "1" });
  });

  it.each(["hd-2.delete", "hd-1.add", "add", "", "hd-2.add(1)"])(
    "is none if the method says %j",
    (method) => {
      expect(() => addressOf({ ...request, method })).toThrow(
        expect.objectContaining({ fault: "malformed" }),
      );
    },
  );
});
