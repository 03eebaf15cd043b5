import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { Side } from "../../src/relay/leg.ts";
import { Pairs, TOKEN_SIZE } from "../../src/relay/rendezvous/pair.ts";

const PATIENCE_MS = 10_000;
const SIDES = ["caller", "callee"] as const;
type Pairing = ReturnType<Pairs<string>["expect"]>;

function pairs(limits: { pending_max?: number; pending_per_caller_max?: number } = {}) {
  const met: Array<Record<Side, string>> = [];
  const lonely: string[][] = [];
  const all = new Pairs<string>(
    { patience_ms: PATIENCE_MS, pending_max: 10_000, pending_per_caller_max: 10_000, ...limits },
    { met: (_, legs) => met.push(legs), lonely: (_, legs) => lonely.push(legs) },
  );
  const expectOne = (caller = "hd-1"): Pairing =>
    all.expect({ caller, callee: "hd-2", request: "r1" });
  return { all, met, lonely, expectOne };
}

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

describe("a token", () => {
  it("has 31 bytes of which every bit is as often set as not, and a first of 201 that are as frequent (T1)", () => {
    const { all, expectOne } = pairs();
    const tokens = Array.from({ length: 2_000 }, () => Object.values(expectOne().tokens)).flat();
    expect(new Set(tokens.map((token) => token.toString("hex"))).size).toBe(tokens.length);
    for (let bit = 8; bit < TOKEN_SIZE * 8; bit += 1) {
      const set = tokens.filter((token) => ((token[bit >> 3] ?? 0) >> (bit & 7)) & 1).length;
      // Six standard deviations of 4,000 coins: by chance once in some million runs.
      expect(Math.abs(set - tokens.length / 2), `bit ${bit}`).toBeLessThan(6 * 32);
    }
    // What else begins at a port is no token: TLS, ZeroMQ, agents, and the letters of HTTP.
    const others = [0x16, 0xff, 0x00, ...Buffer.from("azAZ")];
    const first = tokens.map((token) => token.readUInt8());
    expect(others.filter((byte) => first.includes(byte))).toEqual([]);
    expect(new Set(first).size).toBe(201);
    for (const byte of new Set(first)) {
      const { length } = first.filter((each) => each === byte);
      // Seven standard deviations of 4,000 throws of a die with 201 sides.
      expect(Math.abs(length - tokens.length / 201), `byte ${byte}`).toBeLessThan(7 * 4.5);
    }
    all.clear();
  });

  it("is not found by its beginning, its end, its text or its partner, and costs no pair (T1)", () => {
    const { all, met, expectOne } = pairs();
    const { tokens } = expectOne();
    const near = [
      ...Array.from({ length: TOKEN_SIZE * 8 }, (_, bit) => {
        const guess = Buffer.from(tokens.caller);
        guess[bit >> 3] = (guess[bit >> 3] ?? 0) ^ (1 << (bit & 7));
        return guess;
      }),
      tokens.caller.subarray(0, 31),
      Buffer.concat([tokens.caller, Buffer.alloc(1)]),
      Buffer.from(tokens.caller.toString("base64")),
      Buffer.from(tokens.caller).reverse(),
      Buffer.alloc(TOKEN_SIZE),
      Buffer.alloc(0),
    ];
    for (const guess of near) expect(all.seat(guess, "guesser")).toBeUndefined();
    expect(all.pending).toBe(1);
    for (const side of SIDES) all.seat(tokens[side], side);
    expect(met).toEqual([{ caller: "caller", callee: "callee" }]);
  });

  it("is won by exactly one of many who show it, whoever they are (T3)", () => {
    const { met, expectOne, all } = pairs();
    for (let round = 0; round < 500; round += 1) {
      const { tokens } = expectOne();
      const claims = SIDES.flatMap((side) =>
        Array.from({ length: 8 }, (_, n) => ({ side, leg: `${side} ${round}/${n}` })),
      ).sort(() => Math.random() - 0.5);
      const won = claims.filter(({ side, leg }) => all.seat(tokens[side], leg) !== undefined);
      expect(won.map(({ side }) => side).sort()).toEqual(["callee", "caller"]);
      expect(met.at(-1)).toEqual(Object.fromEntries(won.map(({ side, leg }) => [side, leg])));
    }
    expect(met).toHaveLength(500);
    expect(all.pending).toBe(0);
  });

  it("never brings together two of one side, or legs of two pairs, in any order (T4)", () => {
    const claim = fc.record({ pair: fc.nat(3), side: fc.constantFrom(...SIDES) });
    fc.assert(
      fc.property(fc.array(claim, { maxLength: 30 }), (claims) => {
        const { all, met, expectOne } = pairs();
        const pairings = Array.from({ length: 4 }, () => expectOne());
        for (const { pair, side } of claims) {
          const pairing = pairings[pair];
          if (pairing) all.seat(pairing.tokens[side], `${pair} ${side}`);
        }
        for (const { caller, callee } of met) {
          expect([caller, callee]).toEqual([`${caller[0]} caller`, `${caller[0]} callee`]);
        }
        all.clear();
      }),
    );
  });
});

type Event = "caller" | "callee" | "renew" | "forget" | "half" | "clock +1 h" | "clock -1 h";
const EVENTS: Event[] = ["caller", "callee", "renew", "forget", "half", "clock +1 h", "clock -1 h"];

/** What must come of some events: written down without timers, by counting what has passed. */
function foretell(events: readonly Event[]): { met: boolean; lonely: boolean; pending: number } {
  const seats = new Set<Event>();
  let left_ms = PATIENCE_MS;
  let state: "pending" | "met" | "lonely" | "forgotten" = "pending";
  for (const event of events) {
    if (state !== "pending") continue;
    if (event === "forget") state = "forgotten";
    else if (event === "renew") left_ms = PATIENCE_MS;
    else if (event === "half") left_ms -= PATIENCE_MS / 2;
    else if (event === "caller" || event === "callee") seats.add(event);
    if (left_ms <= 0) state = "lonely";
    else if (seats.size === 2) state = "met";
  }
  return {
    met: state === "met",
    lonely: state === "lonely",
    pending: state === "pending" ? 1 : 0,
  };
}

describe("patience", () => {
  it("ends the same in all orders of up to five events, and steps of the clock end nothing (T5, T6)", () => {
    const start = Date.now();
    let orders = 0;
    const play = (events: Event[]): void => {
      orders += 1;
      vi.setSystemTime(start);
      const { all, met, lonely, expectOne } = pairs();
      const pairing = expectOne();
      for (const event of events) {
        if (event === "caller" || event === "callee") all.seat(pairing.tokens[event], event);
        else if (event === "renew") all.renew(pairing);
        else if (event === "forget") all.forget(pairing);
        else if (event === "half") vi.advanceTimersByTime(PATIENCE_MS / 2);
        else vi.setSystemTime(Date.now() + (event === "clock +1 h" ? 3_600_000 : -3_600_000));
      }
      const ended = { met: met.length === 1, lonely: lonely.length === 1, pending: all.pending };
      if (JSON.stringify(ended) !== JSON.stringify(foretell(events))) {
        expect(ended, events.join(", ")).toEqual(foretell(events));
      }
      all.clear();
      if (events.length < 5) for (const next of EVENTS) play([...events, next]);
    };
    play([]);
    expect(orders).toBe((7 ** 6 - 1) / 6);
    expect(vi.getTimerCount()).toBe(0);
  });

  it("is not revived by a token that comes late, or by a restart (T6)", () => {
    const before = pairs();
    const { tokens } = before.expectOne();
    vi.advanceTimersByTime(PATIENCE_MS);
    expect(before.lonely).toEqual([[]]);
    const after = pairs();
    for (const side of SIDES) {
      expect(before.all.seat(tokens[side], "late")).toBeUndefined();
      expect(after.all.seat(tokens[side], "after a restart")).toBeUndefined();
    }
  });
});

describe("pairs that wait", () => {
  it("of one caller leave room for others, and all of them for no more than the limit (T8, T9)", () => {
    const { all, met, expectOne } = pairs({ pending_max: 50, pending_per_caller_max: 20 });
    let refused = 0;
    for (let n = 0; n < 10_000; n += 1) {
      try {
        expectOne("flooder");
      } catch {
        refused += 1;
      }
    }
    expect([refused, all.pending]).toEqual([9_980, 20]);
    // Everybody else gets through, each time.
    for (let n = 0; n < 1_000; n += 1) {
      const { tokens } = expectOne(`tenant ${n % 7}`);
      for (const side of SIDES) all.seat(tokens[side], side);
    }
    expect(met).toHaveLength(1_000);
    vi.advanceTimersByTime(PATIENCE_MS);
    expect(all.pending).toBe(0);
    expect(() => expectOne("flooder")).not.toThrow();
    for (let n = 0; n < 49; n += 1) expectOne(`crowd ${n}`);
    expect(() => expectOne("one too many")).toThrow(/pending/);
    all.clear();
  });
});
