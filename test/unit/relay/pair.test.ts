import { randomBytes } from "node:crypto";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { Side } from "../../../src/relay/leg.ts";
import { Pairs } from "../../../src/relay/rendezvous/pair.ts";
import { beginningOf } from "../../../src/wire/beginning.ts";

type Pairing = ReturnType<Pairs<string>["expect"]>;

const PATIENCE_MS = 10_000;
const GENEROUS = { patience_ms: PATIENCE_MS, pending_max: 100, pending_per_caller_max: 100 };
const NAMES = { caller: "hd-1", callee: "hd-2", request: "r1" };

/** Pairs whose legs are words, and everything that happened to them. */
function pairs(settings: Partial<typeof GENEROUS> = {}) {
  const met: Array<{ pairing: Pairing; legs: Record<Side, string> }> = [];
  const lonely: Array<{ pairing: Pairing; legs: string[] }> = [];
  const all = new Pairs<string>(
    { ...GENEROUS, ...settings },
    {
      met: (pairing, legs) => met.push({ pairing, legs }),
      lonely: (pairing, legs) => lonely.push({ pairing, legs }),
    },
  );
  return { all, met, lonely };
}

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  expect(vi.getTimerCount(), "timers that nobody waits for").toBe(0);
  vi.useRealTimers();
});

describe("the rendezvous of a pair", () => {
  it("makes tokens that nothing else at a port begins with", () => {
    const { all } = pairs({ pending_max: 1_000, pending_per_caller_max: 1_000 });
    const first = Array.from({ length: 500 }, () => all.expect(NAMES).tokens)
      .flatMap(({ caller, callee }) => [caller, callee])
      .map((token) => token.readUInt8());
    expect(first.filter((byte) => beginningOf(byte) !== "token")).toEqual([]);
    expect(new Set(first).size).toBeGreaterThan(100);
    all.clear();
  });

  it.each([
    ["caller", "callee"],
    ["callee", "caller"],
  ] as const)("brings both together, if the %s comes first", (first, second) => {
    const { all, met, lonely } = pairs();
    const pairing = all.expect(NAMES);
    expect(all.seat(pairing.tokens[first], `the ${first}`)).toBe(pairing);
    expect(met).toEqual([]);
    expect(all.seat(pairing.tokens[second], `the ${second}`)).toBe(pairing);
    expect(met).toEqual([{ pairing, legs: { caller: "the caller", callee: "the callee" } }]);
    expect(all.pending).toBe(0);
    expect(lonely).toEqual([]);
  });

  it("gives each side a secret of its own, new for each pair", () => {
    const { all } = pairs();
    const [a, b] = [all.expect(NAMES), all.expect(NAMES)];
    const tokens = [a, b].flatMap(({ tokens }) => [tokens.caller, tokens.callee]);
    expect(tokens.map((token) => token.length)).toEqual([32, 32, 32, 32]);
    expect(new Set(tokens.map((token) => token.toString("hex"))).size).toBe(4);
    all.clear();
  });

  it.each(["caller", "callee"] as const)("never lets a %s meet itself", (side) => {
    const { all, met } = pairs();
    const { tokens } = all.expect(NAMES);
    expect(all.seat(tokens[side], "first")).toBeDefined();
    expect(all.seat(tokens[side], "again")).toBeUndefined();
    expect(met).toEqual([]);
    expect(all.clear()).toEqual(["first"]);
  });

  it("accepts no token twice, once they have met", () => {
    const { all, met } = pairs();
    const { tokens } = all.expect(NAMES);
    all.seat(tokens.caller, "a");
    all.seat(tokens.callee, "b");
    expect(all.seat(tokens.caller, "c")).toBeUndefined();
    expect(all.seat(tokens.callee, "d")).toBeUndefined();
    expect(met.length).toBe(1);
  });

  it("knows no token that it did not give out", () => {
    const { all } = pairs();
    const { tokens } = all.expect(NAMES);
    const almost = Buffer.from(tokens.caller);
    almost.writeUInt8(almost.readUInt8(31) ^ 1, 31);
    const wrong = [randomBytes(32), almost, Buffer.alloc(0), tokens.caller.subarray(0, 31)];
    for (const token of wrong) expect(all.seat(token, "stranger")).toBeUndefined();
    expect(all.seat(Buffer.from(tokens.caller), "the same bytes elsewhere")).toBeDefined();
    all.clear();
  });

  it("gives up on a pair of which nobody came", () => {
    const { all, lonely } = pairs();
    const pairing = all.expect(NAMES);
    vi.advanceTimersByTime(PATIENCE_MS - 1);
    expect(lonely).toEqual([]);
    vi.advanceTimersByTime(1);
    expect(lonely).toEqual([{ pairing, legs: [] }]);
    expect(all.pending).toBe(0);
    expect(all.seat(pairing.tokens.caller, "late")).toBeUndefined();
    expect(all.seat(pairing.tokens.callee, "late")).toBeUndefined();
  });

  it("gives up on a pair of which one came, and brings back that one", () => {
    const { all, lonely, met } = pairs();
    const pairing = all.expect(NAMES);
    all.seat(pairing.tokens.callee, "the callee");
    vi.advanceTimersByTime(PATIENCE_MS);
    expect(lonely).toEqual([{ pairing, legs: ["the callee"] }]);
    expect(all.seat(pairing.tokens.caller, "late")).toBeUndefined();
    expect(met).toEqual([]);
  });

  it("is as patient again after a renewal, but not for ever", () => {
    const { all, lonely } = pairs();
    const pairing = all.expect(NAMES);
    all.seat(pairing.tokens.callee, "the callee");
    vi.advanceTimersByTime(PATIENCE_MS - 1);
    all.renew(pairing);
    vi.advanceTimersByTime(PATIENCE_MS - 1);
    expect(lonely).toEqual([]);
    vi.advanceTimersByTime(1);
    expect(lonely.length).toBe(1);
    all.renew(pairing); // too late, and that is no mistake
    expect(all.pending).toBe(0);
  });

  it.each([
    { came: [], left: [] },
    { came: ["caller"], left: ["caller"] },
    { came: ["callee"], left: ["callee"] },
  ] as const)("forgets a pair of which $came came", ({ came, left }) => {
    const { all, lonely, met } = pairs();
    const pairing = all.expect(NAMES);
    for (const side of came) all.seat(pairing.tokens[side], side);
    expect(all.forget(pairing)).toEqual(left);
    expect(all.forget(pairing)).toEqual([]);
    expect(all.pending).toBe(0);
    expect(all.seat(pairing.tokens.caller, "late")).toBeUndefined();
    expect(all.seat(pairing.tokens.callee, "late")).toBeUndefined();
    expect([lonely, met]).toEqual([[], []]);
  });

  it("expects so many pairs of one caller, and others still", () => {
    const { all } = pairs({ pending_per_caller_max: 2 });
    const first = all.expect(NAMES);
    all.expect(NAMES);
    expect(() => all.expect(NAMES)).toThrow(expect.objectContaining({ fault: "overloaded" }));
    all.expect({ ...NAMES, caller: "hd-3" });
    all.forget(first);
    all.expect(NAMES);
    expect(() => all.expect(NAMES)).toThrow(expect.objectContaining({ fault: "overloaded" }));
    vi.advanceTimersByTime(PATIENCE_MS); // whoever never came counts no more
    all.expect(NAMES);
    all.expect(NAMES);
    all.clear();
  });

  it("expects so many pairs in all", () => {
    const { all } = pairs({ pending_max: 2 });
    all.expect(NAMES);
    const { tokens } = all.expect({ ...NAMES, caller: "hd-3" });
    const another = { ...NAMES, caller: "hd-4" };
    expect(() => all.expect(another)).toThrow(expect.objectContaining({ fault: "overloaded" }));
    all.seat(tokens.caller, "a");
    expect(() => all.expect(another)).toThrow(expect.objectContaining({ fault: "overloaded" }));
    all.seat(tokens.callee, "b"); // they met, which makes room
    all.expect(another);
    all.clear();
  });

  it("brings back everybody who waits when it is cleared", () => {
    const { all, lonely } = pairs();
    const pairings = ["hd-1", "hd-3", "hd-4"].map((caller) => all.expect({ ...NAMES, caller }));
    all.seat(pairings[0]?.tokens.caller ?? randomBytes(1), "a");
    all.seat(pairings[1]?.tokens.callee ?? randomBytes(1), "b");
    expect(all.clear().sort()).toEqual(["a", "b"]);
    expect(all.pending).toBe(0);
    expect(lonely).toEqual([]);
  });

  /** One thing that can happen to one of a few pairs. */
  const event = fc.record({
    what: fc.constantFrom("expect", "caller", "callee", "renew", "forget", "wait", "guess"),
    which: fc.nat(3),
  });

  it("lets only the two of one pair meet, each pair at most once, in any order of events", () => {
    fc.assert(
      fc.property(fc.array(event, { maxLength: 60 }), (events) => {
        const { all, met, lonely } = pairs();
        const pairings: Pairing[] = [];
        const over = new Set<Pairing>();
        const seated = new Map<string, string>();
        for (const [index, { what, which }] of events.entries()) {
          const pairing = pairings[which];
          if (what === "expect") pairings.push(all.expect({ ...NAMES, caller: `c${which}` }));
          else if (what === "wait") vi.advanceTimersByTime(PATIENCE_MS / 2);
          else if (what === "guess") expect(all.seat(randomBytes(32), "guess")).toBeUndefined();
          else if (!pairing) continue;
          else if (what === "renew") all.renew(pairing);
          else if (what === "forget") all.forget(pairing);
          else {
            const side = what as Side;
            const leg = `${pairings.indexOf(pairing)} ${side} ${index}`;
            const seat = `${pairings.indexOf(pairing)} ${side}`;
            const wanted = !over.has(pairing) && !seated.has(seat);
            expect(all.seat(pairing.tokens[side], leg)).toBe(wanted ? pairing : undefined);
            if (wanted) seated.set(seat, leg);
          }
          if (what === "forget" && pairing) over.add(pairing);
          for (const { pairing: done } of [...met, ...lonely]) over.add(done);
          expect(all.pending).toBe(pairings.length - over.size);
        }
        expect(new Set(met.map(({ pairing }) => pairing)).size).toBe(met.length);
        for (const { pairing, legs } of met) {
          const number = pairings.indexOf(pairing);
          expect(legs.caller).toBe(seated.get(`${number} caller`));
          expect(legs.callee).toBe(seated.get(`${number} callee`));
        }
        all.clear();
      }),
      { numRuns: 300 },
    );
  });
});
