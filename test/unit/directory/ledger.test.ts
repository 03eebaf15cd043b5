import { beforeAll, describe, expect, it } from "vitest";
import type { Trust } from "../../../src/directory/certificates.ts";
import { Ledger } from "../../../src/directory/ledger.ts";
import type { SignedRecord } from "../../../src/directory/record.ts";
import { structuredHash } from "../../../src/wire/structured-hash.ts";
import { now } from "../../../src/wire/timestamp.ts";
import { type Holder, issueRoot, issueSigner, Pen, trusting } from "./authority.ts";

let admin: Holder;
let impostor: Holder;
let trust: Trust;

beforeAll(async () => {
  const root = await issueRoot();
  admin = await issueSigner("hd-1", root);
  impostor = await issueSigner("hd-1", root);
  trust = trusting([root]);
});

const open = async (stored: unknown[]): Promise<{ ledger: Ledger; skipped: string[] }> => {
  const skipped: string[] = [];
  const ledger = await Ledger.open(trust, stored, (reason) => skipped.push(reason));
  return { ledger, skipped };
};
const hashes = (records: readonly SignedRecord[]): string[] => records.map(({ hash }) => hash);

/** A pinned administrator and three records. */
const town = (): { pen: Pen; records: SignedRecord[] } => {
  const pen = new Pen();
  const records = [
    pen.pin(admin, "hd-1"),
    pen.write(admin, "hd-1", "groups", ["health-departments"]),
    pen.write(admin, "hd-2", "groups", ["health-departments"]),
  ];
  return { pen, records };
};

describe("a ledger read from a store", () => {
  it("is empty without records", async () => {
    const { ledger, skipped } = await open([]);
    expect(ledger).toMatchObject({ tip: null, records: [] });
    expect([ledger.entries(), skipped]).toEqual([[], []]);
  });

  it("has the chain, whatever the order of the store [directory 3]", async () => {
    const { records } = town();
    const { ledger, skipped } = await open(records.toReversed());
    expect(hashes(ledger.records)).toEqual(hashes(records));
    expect(ledger.tip?.hash).toBe(records[2]?.hash);
    expect(ledger.entry("hd-2")?.groups).toEqual(["health-departments"]);
    expect(ledger.entry("hd-3")).toBeUndefined();
    expect(skipped).toEqual([]);
  });

  it("tells what comes after a hash, and everything after an unknown one [directory 3]", async () => {
    const { records } = town();
    const { ledger } = await open(records);
    expect(hashes(ledger.after(records[0]?.hash ?? ""))).toEqual(hashes(records.slice(1)));
    expect(ledger.after(records[2]?.hash ?? "")).toEqual([]);
    expect(ledger.after("")).toHaveLength(3);
    expect(ledger.after("0".repeat(64))).toHaveLength(3);
  });

  it("takes the first branch of a fork", async () => {
    const { pen, records } = town();
    const fork = new Pen(records[1]);
    const branch = [fork.write(admin, "hd-9", "groups", ["late"])];
    const rest = [pen.write(admin, "hd-3", "groups", ["a"])];
    const { ledger } = await open([...records, ...branch, ...rest]);
    expect(hashes(ledger.records)).toEqual(hashes([...records, ...rest]));
    expect(ledger.entry("hd-9")).toBeUndefined();
  });

  it("takes the chain with the youngest root, be it stored first or last", async () => {
    const { records } = town();
    const pen = new Pen();
    const reset = [pen.pin(admin, "hd-1"), pen.write(admin, "hd-1", "groups", ["new"])];
    for (const stored of [
      [...records, ...reset],
      [...reset, ...records],
    ]) {
      const { ledger } = await open(stored);
      expect(hashes(ledger.records)).toEqual(hashes(reset));
    }
  });

  it("takes a record without its parent for a root", async () => {
    const { records } = town();
    const { ledger } = await open(records.slice(1));
    expect(hashes(ledger.records)).toEqual(hashes(records.slice(1)));
  });

  it("leaves out what is invalid, says so, and keeps the rest", async () => {
    const { pen, records } = town();
    const forged = pen.write(impostor, "hd-2", "groups", ["sd-admin"]);
    const rest = pen.write(admin, "hd-3", "groups", ["a"]);
    const { ledger, skipped } = await open([...records, forged, rest, "garbage", records[0]]);
    expect(hashes(ledger.records)).toEqual(hashes([...records, rest]));
    expect(skipped.toSorted()).toEqual([
      expect.stringMatching(/^stored record 4: record 4 \(groups of hd-2\): .* pins for hd-1/),
      expect.stringMatching(/^stored record 6 is not valid/),
      "stored record 7 has the hash of an earlier one",
    ]);
  });

  it("survives records that lead to each other, and to themselves", async () => {
    const { records } = town();
    const [a, b, c] = structuredClone(records) as [SignedRecord, SignedRecord, SignedRecord];
    [a.parent_hash, b.parent_hash, c.parent_hash] = [b.hash, a.hash, c.hash];
    const { ledger } = await open([a, b, c]);
    expect(ledger.records).toEqual([]);
  });

  it("reads thousands of records in one chain", async () => {
    // Signatures take most of the time, so only every twentieth record has one. The others carry one
    // that is refused at sight, and are links of the chain all the same.
    const pen = new Pen();
    const records = Array.from({ length: 4_000 }, (_, i): SignedRecord => {
      if (i % 20 === 0) return pen.write(admin, `op-${i}`, "groups", []);
      const record = { name: `op-${i}`, section: "groups", data: [], created_at: now() } as const;
      const hash = structuredHash(record).toString("hex");
      const signature = { r: "9".repeat(100), s: "9".repeat(100), c: admin.pem };
      const forged = { parent_hash: pen.parent, hash, signature, record: { ...record, data: [] } };
      pen.parent = hash;
      return forged;
    });
    const { ledger, skipped } = await open(records);
    expect(hashes(ledger.records)).toEqual(hashes(records.filter((_, i) => i % 20 === 0)));
    expect(skipped).toHaveLength(3_800);
    expect(skipped[0]).toMatch(/^stored record 2: .* the signature is not hd-1's/);
  });
});

describe("a proposal", () => {
  let pen: Pen;
  let records: SignedRecord[];
  let ledger: Ledger;

  const refused = async (batch: SignedRecord[], fault: string, message: RegExp): Promise<void> => {
    await expect(ledger.propose(batch)).rejects.toMatchObject({
      fault,
      message: expect.stringMatching(message),
    });
    expect(hashes(ledger.records)).toEqual(hashes(records));
  };

  beforeAll(async () => {
    ({ records } = town());
    ({ ledger } = await open(records));
  });

  const fresh = (): Pen => new Pen(records.at(-1));

  it("gives the next ledger and leaves the present one alone", async () => {
    pen = fresh();
    const batch = [pen.write(admin, "a", "groups", ["x"]), pen.write(admin, "b", "groups", ["y"])];
    const next = await ledger.propose(batch);
    expect(hashes(next.after(records.at(-1)?.hash ?? ""))).toEqual(hashes(batch));
    expect(next.entry("b")?.groups).toEqual(["y"]);
    expect(ledger.entry("b")).toBeUndefined();
    expect(ledger.records).toHaveLength(records.length);
  });

  it("may begin a directory", async () => {
    const { records: first } = town();
    const next = await (await open([])).ledger.propose(first);
    expect(next.records).toHaveLength(3);
  });

  it("of nothing changes nothing", async () => {
    expect((await ledger.propose([])).tip).toBe(ledger.tip);
  });

  it("behind a stale tip is refused, and learns the present one", async () => {
    const stale = new Pen(records[1]).write(admin, "a", "groups", []);
    await refused(
      [stale],
      "conflict",
      /^record 1 \(groups of a\) follows .* but the last record is/,
    );
    await expect(ledger.propose([stale])).rejects.toMatchObject({
      detail: { tip: ledger.tip?.hash },
    });
  });

  it("that is not linked in itself is refused", async () => {
    pen = fresh();
    const batch = ["a", "b", "c"].map((name) => pen.write(admin, name, "groups", []));
    await refused([batch[0], batch[2]] as SignedRecord[], "conflict", /^record 2 .* follows/);
  });

  it("is refused as a whole if its last record is bad", async () => {
    pen = fresh();
    const batch = [pen.write(admin, "a", "groups", []), pen.write(impostor, "a", "groups", ["x"])];
    await refused(batch, "forbidden", /^record 2 \(groups of a\): .* pins for hd-1/);
  });

  it("is refused if it was changed after signing", async () => {
    const bent = fresh().write(admin, "a", "groups", ["x"]);
    bent.record.name = "b";
    await refused([bent], "malformed", /its hash does not match/);
    const moved = fresh().write(admin, "a", "groups", ["x"]);
    moved.signature.s = String(BigInt(moved.signature.s) + 1n);
    await refused([moved], "malformed", /the signature is not hd-1's/);
  });

  it("of a record that is there already is refused, wherever it is", async () => {
    await refused([records[1] as SignedRecord], "conflict", /^record 1 .* is already there/);
    const once = fresh().write(admin, "a", "groups", []);
    await refused(
      [once, { ...once, parent_hash: once.hash }],
      "conflict",
      /^record 2 .* already there/,
    );
  });

  it("of a record that left with an old root is refused too", async () => {
    const reset = await ledger.propose([new Pen().pin(admin, "hd-1")]);
    const again = new Pen(reset.tip ?? undefined);
    const { name, section, data, created_at } = (records[1] as SignedRecord).record;
    const same = again.write(admin, name, section, data, created_at);
    await expect(reset.propose([same])).rejects.toThrow(/is already there/);
  });

  it("with a minus zero is refused, because nobody could read it back", async () => {
    const signed = fresh().write(admin, "a", "settings", [{ settings: { a: 0 } }]);
    Object.assign(signed.record.data[0] as object, { settings: { a: -0 } });
    await refused([signed], "malformed", /cannot be passed on as it is: it has a negative zero/);
  });

  it("without a parent begins the directory anew, if a pinned key says so later", async () => {
    pen = new Pen();
    const batch = [pen.pin(admin, "hd-1"), pen.write(admin, "hd-7", "groups", ["x"])];
    const next = await ledger.propose(batch);
    expect(hashes(next.records)).toEqual(hashes(batch));
    expect(next.entry("hd-2")).toBeUndefined();
    expect(hashes(next.after(records[2]?.hash ?? ""))).toEqual(hashes(batch));
    // What was stored under the old root and what is stored now give the same ledger.
    expect(hashes((await open([...records, ...batch])).ledger.records)).toEqual(hashes(batch));
  });

  it("may not begin anew with a key that is not pinned", async () => {
    pen = new Pen();
    const batch = [pen.pin(impostor, "hd-1"), pen.write(impostor, "hd-7", "groups", ["x"])];
    await refused(batch, "forbidden", /^record 1 \(certificates of hd-1\): .* pins for hd-1/);
  });

  it("may not begin anew with a root that is not younger [directory 3]", async () => {
    const created_at = records[0]?.record.created_at;
    const old = new Pen().write(admin, "a", "groups", [], created_at);
    await refused([old], "conflict", /created_at is not later than that of the present root/);
  });

  it("may append and begin anew in one", async () => {
    pen = fresh();
    const last = pen.write(admin, "a", "groups", []);
    pen.parent = "";
    const batch = [last, pen.write(admin, "b", "groups", []), pen.write(admin, "c", "groups", [])];
    expect((await ledger.propose(batch)).entries().map(({ name }) => name)).toEqual(["b", "c"]);
  });
});
