import { describe, expect, it } from "vitest";
import {
  hopsOf,
  type Ping,
  pingLine,
  statistics,
  statisticsLines,
} from "../../../../src/roles/eps/commands/ping.ts";

const ping = (ms: number, more: Partial<Ping> = {}): Ping => ({
  seq: 1,
  ms,
  hops: {},
  request: undefined,
  ...more,
});

describe("the times of the hops", () => {
  it("are read from Server-Timing", () => {
    expect(
      hopsOf("directory;dur=0.1, rendezvous;dur=12.3,connect;desc=tls;dur=5, call;dur=3.2"),
    ).toEqual({
      directory: 0.1,
      rendezvous: 12.3,
      connect: 5,
      call: 3.2,
    });
  });

  it.each([undefined, "", "cache", "cache;desc=x", "cache;dur=", ";dur=1", [] as string[]])(
    "are missing where %j says none",
    (header) => expect(hopsOf(header)).toEqual({}),
  );

  it("are read from several headers", () => {
    expect(hopsOf(["a;dur=1", "b;dur=2"])).toEqual({ a: 1, b: 2 });
  });
});

describe("the line of a ping", () => {
  it("tells the whole time, that of each hop, and the id of the request", () => {
    const hops = { rendezvous: 12.34, call: 3 };
    expect(pingLine("hd-2", ping(20.06, { hops, request: "r1" }))).toBe(
      "hd-2: seq=1  time=20.1 ms  (rendezvous 12.3, call 3.0)  id=r1",
    );
    expect(pingLine("hd-2", ping(20))).toBe("hd-2: seq=1  time=20.0 ms");
  });

  it("says why there was no answer", () => {
    expect(pingLine("hd-2", ping(20, { lost: "gone\u001b[2J" }))).toBe(
      "hd-2: seq=1  lost  gone\\u001b[2J",
    );
  });
});

describe("the statistics of pings", () => {
  it("leave out what was lost", () => {
    const pings = [ping(1), ping(900, { lost: "x" }), ping(3)];
    expect(statistics(pings)).toEqual({
      count: 3,
      answered: 2,
      lost: 1,
      times: { min: 1, avg: 2, p99: 3, max: 3 },
    });
  });

  it("give the 99th of 100 as p99", () => {
    const pings = Array.from({ length: 100 }, (_, index) => ping(100 - index));
    expect(statistics(pings).times).toMatchObject({ min: 1, p99: 99, max: 100 });
  });

  it("have no times if nobody answered", () => {
    const none = statistics([ping(1, { lost: "x" })]);
    expect(none).toEqual({ count: 1, answered: 0, lost: 1 });
    expect(statisticsLines("hd-2", none)).toEqual(["", "hd-2: 1 pings, 0 answered, 1 lost"]);
  });
});
