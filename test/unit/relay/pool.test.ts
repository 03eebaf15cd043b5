import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { Policy } from "../../../src/relay/rendezvous/policy.ts";
import { Pools } from "../../../src/relay/rendezvous/pool.ts";

const GENEROUS = {
  policies: ["fifo"] as Policy[],
  queue_max: 100,
  patience_ms: 25_000,
  queue_per_source_max: 100,
  offers_max: 100,
  offers_per_owner_max: 100,
  needs_listener: false,
  failures_max: 3,
  rest_ms: 10_000,
};
type Who = { pool: string; leg: string };

/** Pools whose legs and ears are words, and everything that happened. */
function pools(
  settings: Partial<typeof GENEROUS> = {},
  all: { offers_max?: number; queue_max?: number } = {},
) {
  const met: string[] = [];
  const parted: string[] = [];
  const lonely: string[] = [];
  const one = { ...GENEROUS, ...settings };
  const rendezvous = new Pools<string, string>(
    { offers_max: 1_000, queue_max: 1_000, ...all, pool: () => one },
    {
      met: ({ offer, demand }, ears) => met.push([offer.leg, demand.leg, ...ears].join(" ")),
      parted: ({ offer, demand }, by, ears) =>
        parted.push([offer.leg, demand.leg, `by ${by}`, ...ears].join(" ")),
      lonely: ({ leg }) => lonely.push(leg),
    },
  );
  const offer = (leg: string, owner = "a", pool = "ssh") => {
    const it = { pool, owner, leg };
    rendezvous.offer(it);
    return it;
  };
  const demand = (leg: string, source = "s", pool = "ssh") => {
    const it = { pool, source, key: source, leg };
    rendezvous.demand(it);
    return it;
  };
  return { rendezvous, offer, demand, met, parted, lonely };
}

const overloaded = expect.objectContaining({ fault: "overloaded" });
const unreachable = expect.objectContaining({ fault: "unreachable" });

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  expect(vi.getTimerCount(), "timers that nobody waits for").toBe(0);
  vi.useRealTimers();
});

describe("the rendezvous of a pool", () => {
  it("gives each comer the oldest that waits", () => {
    const { rendezvous, offer, demand, met } = pools();
    for (const leg of ["o1", "o2", "o3"]) offer(leg);
    for (const leg of ["d1", "d2"]) demand(leg);
    expect(met).toEqual(["o1 d1", "o2 d2"]);
    expect(rendezvous.list()).toEqual([
      { pool: "ssh", offers: 1, demands: 0, matches: 2, listeners: 0, suspended: false },
    ]);
  });

  it("serves those who wait in the order in which they came", () => {
    const { rendezvous, offer, demand, met } = pools();
    const gone = [demand("d1"), demand("d2"), demand("d3")][1];
    if (gone) rendezvous.leave(gone);
    for (const leg of ["o1", "o2"]) offer(leg);
    expect(met).toEqual(["o1 d1", "o2 d3"]);
  });

  it("refuses a comer at once where nobody may wait, as RelayServer does", () => {
    const { rendezvous, offer, demand, met } = pools({ queue_max: 0 });
    expect(() => demand("d1")).toThrow(unreachable);
    offer("o1");
    demand("d2");
    expect(() => demand("d3")).toThrow(unreachable);
    expect(met).toEqual(["o1 d2"]);
    expect(rendezvous.list()).toEqual([
      { pool: "ssh", offers: 0, demands: 0, matches: 1, listeners: 0, suspended: false },
    ]);
  });

  it("keeps pools apart (R10)", () => {
    const { rendezvous, offer, demand, met } = pools();
    offer("o1", "a", "ssh");
    demand("d1", "s", "web");
    expect(met).toEqual([]);
    expect(rendezvous.clear()).toEqual(["o1", "d1"]);
    expect(rendezvous.list()).toEqual([]);
  });

  it("lets nobody wait longer than patience", () => {
    const { rendezvous, offer, demand, met, lonely } = pools();
    demand("d1");
    vi.advanceTimersByTime(20_000);
    demand("d2");
    vi.advanceTimersByTime(5_000);
    expect(lonely).toEqual(["d1"]);
    offer("o1");
    vi.advanceTimersByTime(60_000);
    expect(met).toEqual(["o1 d2"]);
    expect(lonely).toEqual(["d1"]);
    expect(rendezvous.clear()).toEqual([]);
  });

  it("forgets who leaves while waiting, whatever it has said", () => {
    const { rendezvous, offer, demand, met, parted } = pools();
    const [first] = [offer("o1"), offer("o2")];
    expect(rendezvous.leave(first)).toBe(true);
    expect(rendezvous.leave(first)).toBe(false);
    demand("d1");
    expect(met).toEqual(["o2 d1"]);
    expect(parted).toEqual([]);
  });

  it.each(["offer", "demand"] as const)(
    "tells the other once when the %s leaves [streamq 200]",
    (who) => {
      const { rendezvous, offer, demand, parted } = pools();
      const legs = { offer: offer("o1"), demand: demand("d1") };
      expect(rendezvous.leave(legs[who])).toBe(true);
      expect(parted).toEqual([`o1 d1 by ${who}`]);
      expect(rendezvous.leave(legs.offer)).toBe(false);
      expect(rendezvous.leave(legs.demand)).toBe(false);
      expect(parted.length).toBe(1);
      expect(rendezvous.list()).toEqual([]);
    },
  );

  it("never gives an offer to a second comer (R1), and knows who has it", () => {
    const { rendezvous, offer, demand, met, parted } = pools({ queue_max: 0 });
    offer("o1");
    rendezvous.leave(demand("d1"));
    expect(() => demand("d2")).toThrow(unreachable);
    expect(met).toEqual(["o1 d1"]);
    expect(parted).toEqual(["o1 d1 by demand"]);
  });

  it("matches nobody while it is suspended, and everybody in order afterwards", () => {
    const { rendezvous, offer, demand, met } = pools();
    rendezvous.suspend("ssh");
    for (const leg of ["o1", "o2"]) offer(leg);
    for (const leg of ["d1", "d2", "d3"]) demand(leg);
    expect(met).toEqual([]);
    rendezvous.resume("ssh");
    expect(met).toEqual(["o1 d1", "o2 d2"]);
    expect(rendezvous.clear()).toEqual(["d3"]);
  });

  it("stays right when an event ends what it tells of", () => {
    const told: string[] = [];
    const all = new Pools<string>(
      { offers_max: 9, queue_max: 9, pool: () => GENEROUS },
      {
        met: ({ offer, demand }) => {
          told.push(`${offer.leg} ${demand.leg}`);
          all.leave(offer);
        },
        parted: (_, by) => told.push(by),
        lonely: () => {},
      },
    );
    const who: Who = { pool: "ssh", leg: "" };
    for (const leg of ["d1", "d2"]) all.demand({ ...who, leg, source: "s", key: "s" });
    for (const leg of ["o1", "o2"]) all.offer({ ...who, leg, owner: "a" });
    expect(told).toEqual(["o1 d1", "offer", "o2 d2", "offer"]);
    expect(all.list()).toEqual([]);
  });
});

describe("announcements", () => {
  it("go to every ear of the owner, and to nobody else", () => {
    const { rendezvous, offer, demand, met, parted } = pools();
    const hangUp = rendezvous.listen("ssh", "a", "ear1");
    rendezvous.listen("ssh", "a", "ear2");
    rendezvous.listen("ssh", "b", "ear3");
    offer("o1", "a");
    const served = demand("d1");
    hangUp(); // one of two that ends leaves the other (R6)
    rendezvous.leave(served);
    expect(met).toEqual(["o1 d1 ear1 ear2"]);
    expect(parted).toEqual(["o1 d1 by demand ear2"]);
  });

  it("are a condition where the pool says so", () => {
    const { rendezvous, offer, demand, met } = pools({ needs_listener: true });
    offer("o1");
    expect(() => demand("d1")).toThrow(unreachable);
    const hangUp = rendezvous.listen("ssh", "a", "ear");
    demand("d2");
    expect(met).toEqual(["o1 d2 ear"]);
    hangUp();
    expect(() => demand("d3")).toThrow(unreachable);
  });
});

describe("limits of a pool", () => {
  it("hold for offers: of a pool, of an owner, of all pools", () => {
    const { offer, rendezvous } = pools(
      { offers_max: 3, offers_per_owner_max: 2 },
      { offers_max: 4 },
    );
    offer("o1", "a");
    offer("o2", "a");
    expect(() => offer("o3", "a")).toThrow(overloaded);
    offer("o4", "b");
    expect(() => offer("o5", "c")).toThrow(overloaded);
    offer("o6", "a", "web");
    expect(() => offer("o7", "b", "web")).toThrow(overloaded);
    expect(rendezvous.clear()).toEqual(["o1", "o2", "o4", "o6"]);
    offer("o8", "a");
  });

  it("keep out no offer that somebody waits for", () => {
    const { offer, demand, met, rendezvous } = pools({}, { offers_max: 1 });
    offer("o1", "a", "web");
    demand("d1");
    offer("o2");
    expect(met).toEqual(["o2 d1"]);
    rendezvous.clear();
  });

  it("hold for demands: of a pool, of a source, of all pools", () => {
    const { rendezvous, demand, offer } = pools(
      { queue_max: 3, queue_per_source_max: 2 },
      { queue_max: 4 },
    );
    demand("d1", "s");
    demand("d2", "s");
    expect(() => demand("d3", "s")).toThrow(overloaded);
    demand("d4", "t");
    expect(() => demand("d5", "u")).toThrow(overloaded);
    demand("d6", "s", "web");
    expect(() => demand("d7", "t", "web")).toThrow(overloaded);
    offer("o1"); // whoever is served does not count any more
    demand("d8", "s");
    expect(rendezvous.clear().sort()).toEqual(["d2", "d4", "d6", "d8"]);
    demand("d9", "s");
    expect(rendezvous.clear()).toEqual(["d9"]);
  });
});

describe("who is chosen", () => {
  it("least-used: the owner with fewest in use, then the one that served least", () => {
    const { rendezvous, offer, demand, met } = pools({ policies: ["least-used"] });
    for (const leg of ["a1", "a2", "a3"]) offer(leg, "a");
    for (const leg of ["b1", "b2"]) offer(leg, "b");
    const first = demand("d1");
    demand("d2");
    rendezvous.leave(first);
    demand("d3");
    demand("d4");
    demand("d5");
    expect(met).toEqual(["a1 d1", "b1 d2", "a2 d3", "b2 d4", "a3 d5"]);
  });

  it("sticky: the owner that the source had, else by the next policy, and home again", () => {
    const { rendezvous, offer, demand, met } = pools({ policies: ["sticky", "least-used"] });
    offer("b1", "b");
    offer("a1", "a");
    const first = demand("d1", "s");
    offer("b2", "b");
    demand("d2", "s"); // b, although a is used less
    demand("d3", "s"); // b has none left
    offer("a2", "a");
    offer("b3", "b");
    demand("d4", "s");
    expect(met).toEqual(["b1 d1", "b2 d2", "a1 d3", "b3 d4"]);
    rendezvous.leave(first);
    rendezvous.clear();
  });

  it("sticky: another owner, once the first is gone", () => {
    const { rendezvous, offer, demand, met } = pools({ policies: ["sticky"] });
    offer("a1", "a");
    offer("b1", "b");
    const first = demand("d1", "s");
    rendezvous.leave(first);
    demand("d2", "s");
    offer("a2", "a");
    offer("b2", "b");
    demand("d3", "s");
    expect(met).toEqual(["a1 d1", "b1 d2", "b2 d3"]);
  });

  it("not an owner that failed too often, until it has rested or nobody else is there", () => {
    const { rendezvous, offer, demand, met } = pools({ failures_max: 2 });
    for (const leg of ["a1", "a2", "a3", "a4", "a5"]) offer(leg, "a");
    const fail = (leg: string): unknown => rendezvous.leave(demand(leg), { failed: true });
    fail("d1");
    fail("d2");
    offer("b1", "b");
    demand("d3");
    demand("d4");
    vi.advanceTimersByTime(10_000);
    offer("b2", "b");
    demand("d5");
    expect(met).toEqual(["a1 d1", "a2 d2", "b1 d3", "a3 d4", "a4 d5"]);
  });

  it("an owner that failed now and then: only failures in a row count", () => {
    const { rendezvous, offer, demand, met } = pools({ failures_max: 2 });
    for (const leg of ["a1", "a2", "a3", "a4"]) offer(leg, "a");
    for (const failed of [true, false, true]) rendezvous.leave(demand("d"), { failed });
    offer("b1", "b");
    demand("d4");
    expect(met.at(-1)).toBe("a4 d4");
    rendezvous.clear();
  });

  it("nobody else, where nobody is there and nobody may wait", () => {
    const { rendezvous, offer, demand, parted } = pools({ queue_max: 0 });
    offer("o1");
    const served = demand("d1");
    expect(rendezvous.again(served)).toBe(false);
    expect(parted).toEqual([]);
    rendezvous.leave(served);
    expect(parted).toEqual(["o1 d1 by demand"]);
  });

  it("nobody who is gone: an owner that rested and left is forgotten with the next that comes", () => {
    const { rendezvous, offer, demand } = pools({ failures_max: 1 });
    offer("a1", "a");
    rendezvous.leave(demand("d1"), { failed: true });
    expect(rendezvous.list().length).toBe(1); // it may come back, and rests still
    vi.advanceTimersByTime(10_000);
    const last = offer("b1", "b");
    rendezvous.leave(last);
    expect(rendezvous.list()).toEqual([]);
  });

  it("another one, where the first failed before anything was lost", () => {
    const { rendezvous, offer, demand, met, parted, lonely } = pools();
    const [first, second] = [offer("o1", "a"), offer("o2", "b")];
    const served = demand("d1");
    const later = demand("d2");
    rendezvous.leave(second);
    demand("d3");
    expect(rendezvous.again(served)).toBe(true);
    expect(rendezvous.leave(first)).toBe(false);
    offer("o3");
    offer("o4");
    expect(met).toEqual(["o1 d1", "o2 d2", "o3 d1", "o4 d3"]); // before d3, who came later
    expect(parted).toEqual(["o2 d2 by offer", "o1 d1 by offer"]);
    expect(rendezvous.again(later)).toBe(false);
    expect(rendezvous.again(served)).toBe(true);
    vi.advanceTimersByTime(25_000);
    expect(lonely).toEqual(["d1"]);
  });
});

describe("any order of events", () => {
  const event = fc.record({
    what: fc.constantFrom(
      "offer",
      "offer",
      "demand",
      "demand",
      "leave",
      "leave",
      "again",
      "wait",
      "suspend",
      "resume",
    ),
    pool: fc.constantFrom("p", "q"),
    who: fc.constantFrom("a", "b", "c"),
    which: fc.nat(30),
  });
  const policies = fc.subarray<Policy>(["sticky", "least-used"]);

  it("leaves nobody waiting beside somebody, overtakes nobody and loses nobody", () => {
    fc.assert(
      fc.property(policies, fc.array(event, { maxLength: 80 }), (policies, events) => {
        const settings = { ...GENEROUS, policies, queue_max: 4, offers_max: 4, failures_max: 1 };
        type Any = { pool: string; leg: string };
        const all: Any[] = [];
        const state = new Map<string, "waiting" | "matched" | "over">();
        const queue: Record<string, string[]> = { p: [], q: [] };
        const suspended = new Set<string>();
        const rendezvous = new Pools<string, never>(
          { offers_max: 6, queue_max: 6, pool: () => settings },
          {
            met({ offer, demand }) {
              expect(state.get(offer.leg)).toBe("waiting");
              expect(queue[demand.pool]?.shift()).toBe(demand.leg);
              state.set(offer.leg, "matched").set(demand.leg, "matched");
            },
            parted({ offer, demand }) {
              expect(state.get(offer.leg)).toBe("matched");
              state.set(offer.leg, "over");
              if (state.get(demand.leg) === "matched") state.set(demand.leg, "over");
            },
            lonely({ pool, leg }) {
              expect(queue[pool]?.shift()).toBe(leg);
              state.set(leg, "over");
            },
          },
        );
        const waitingOf = (pool: string, kind: string) =>
          all.filter(
            (each) =>
              each.pool === pool && each.leg.startsWith(kind) && state.get(each.leg) === "waiting",
          );
        for (const [index, { what, pool, who, which }] of events.entries()) {
          const leg = `${what[0]}${index}`;
          const chosen = all[which] as Parameters<typeof rendezvous.leave>[0] | undefined;
          try {
            if (what === "offer") {
              state.set(leg, "waiting");
              const offer = { pool, leg, owner: who };
              all.push(offer);
              rendezvous.offer(offer);
            } else if (what === "demand") {
              state.set(leg, "waiting");
              queue[pool]?.push(leg);
              const demand = { pool, leg, source: who, key: who };
              all.push(demand);
              rendezvous.demand(demand);
            } else if (what === "suspend") {
              rendezvous.suspend(pool);
              suspended.add(pool);
            } else if (what === "resume") {
              suspended.delete(pool);
              rendezvous.resume(pool);
            } else if (what === "wait") vi.advanceTimersByTime(9_000);
            else if (chosen && what === "leave") {
              const before = state.get(chosen.leg);
              if (before === "waiting") {
                state.set(chosen.leg, "over");
                queue[chosen.pool] = (queue[chosen.pool] ?? []).filter(
                  (each) => each !== chosen.leg,
                );
              }
              expect(rendezvous.leave(chosen, { failed: which % 2 === 0 })).toBe(before !== "over");
            } else if (chosen && what === "again" && "source" in chosen) {
              if (state.get(chosen.leg) === "matched") {
                state.set(chosen.leg, "waiting");
                queue[chosen.pool]?.unshift(chosen.leg);
                expect(rendezvous.again(chosen)).toBe(true);
              } else expect(rendezvous.again(chosen)).toBe(false);
            }
          } catch (reason) {
            expect(reason).toMatchObject({ fault: "overloaded" });
            all.pop();
            state.delete(leg);
            if (what === "demand") queue[pool]?.pop();
          }
          for (const name of ["p", "q"]) {
            const [offers, demands] = [waitingOf(name, "o").length, queue[name]?.length ?? 0];
            const told = rendezvous.list().find((each) => each.pool === name);
            expect([told?.offers ?? 0, told?.demands ?? 0]).toEqual([offers, demands]);
            const matched = all.filter(
              ({ pool, leg }) =>
                pool === name && leg.startsWith("o") && state.get(leg) === "matched",
            );
            expect(told?.matches ?? 0).toBe(matched.length);
            if (!suspended.has(name)) expect(Math.min(offers, demands)).toBe(0);
          }
        }
        for (const each of all) rendezvous.leave(each as Parameters<typeof rendezvous.leave>[0]);
        vi.advanceTimersByTime(settings.rest_ms);
        for (const name of ["p", "q"]) rendezvous.resume(name);
        expect(
          rendezvous.list().map(({ offers, demands, matches }) => offers + demands + matches),
        ).toEqual(rendezvous.list().map(() => 0));
      }),
      { numRuns: 300 },
    );
  });
});
