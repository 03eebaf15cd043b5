import { beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { Trust } from "../../../src/directory/certificates.ts";
import type { SignedRecord } from "../../../src/directory/record.ts";
import { Replica } from "../../../src/directory/replica.ts";
import { type Holder, issueRoot, issueSigner, Pen, trusting } from "./authority.ts";

let admin: Holder;
let impostor: Holder;
let stranger: Holder;
let trust: Trust;
let pen: Pen;
let records: SignedRecord[];
let replica: Replica;
let roots: Array<[root: SignedRecord, before: SignedRecord]>;

beforeAll(async () => {
  const root = await issueRoot();
  [admin, impostor] = [await issueSigner("hd-1", root), await issueSigner("hd-1", root)];
  stranger = await issueSigner("hd-1", await issueRoot("elsewhere"));
  trust = trusting([root]);
});

beforeEach(async () => {
  pen = new Pen();
  records = [
    pen.pin(admin, "hd-1"),
    ...["hd-1", "hd-2", "hd-3"].map((name) => pen.write(admin, name, "groups", ["a"])),
  ];
  roots = [];
  replica = new Replica(trust, (root, before) => roots.push([root, before]));
  await replica.update(records);
});

/** The answer is refused and the copy is what it was. */
async function refuses(answer: unknown, message: RegExp, fault = "conflict"): Promise<void> {
  const [after, entries] = [replica.after, replica.entries()];
  await expect(replica.update(answer)).rejects.toMatchObject({
    fault,
    message: expect.stringMatching(message),
  });
  expect([replica.after, replica.entries()]).toEqual([after, entries]);
  expect(roots).toEqual([]);
}

describe("a replica", () => {
  it("asks for everything first and then for what is new", async () => {
    const young = new Replica(trust);
    expect(young.after).toBe("");
    expect(await young.update(JSON.parse(JSON.stringify(records)))).toBe(true);
    expect(young.after).toBe(records.at(-1)?.hash);
    expect(young.entry("hd-2")?.groups).toEqual(["a"]);
    expect(young.entries()).toHaveLength(3);
  });

  it("appends what is new", async () => {
    expect(await replica.update([pen.write(admin, "hd-2", "groups", ["b"])])).toBe(true);
    expect(replica.entry("hd-2")?.groups).toEqual(["b"]);
    expect(roots).toEqual([]);
  });

  it.each([null, undefined, []])("sees no change in %j", async (answer) => {
    expect(await replica.update(answer)).toBe(false);
    expect(replica.entries()).toHaveLength(3);
  });

  it("sees no change in all that it has, and the new in all there is", async () => {
    expect(await replica.update(records)).toBe(false);
    const more = pen.write(admin, "hd-4", "groups", []);
    expect(await replica.update([...records, more])).toBe(true);
    expect(replica.after).toBe(more.hash);
  });

  it("takes two answers at once as if they came one after the other", async () => {
    const more = pen.write(admin, "hd-4", "groups", []);
    const both = await Promise.allSettled([
      replica.update([more]),
      replica.update([...records, more]),
    ]);
    expect(both.map(({ status }) => status)).toContain("fulfilled");
    expect(replica.after).toBe(more.hash);
  });

  it("follows a directory that begins anew, and says so", async () => {
    pen = new Pen();
    const reset = [pen.pin(admin, "hd-1"), pen.write(admin, "hd-9", "groups", ["x"])];
    expect(await replica.update(reset)).toBe(true);
    expect(replica.entries().map(({ name }) => name)).toEqual(["hd-1", "hd-9"]);
    expect(roots).toEqual([[reset[0], records[0]]]);
  });

  it("normalises what an original server serves", async () => {
    const served = pen.write(admin, "hd-4", "channels", [{ type: "stdout" }]);
    Object.assign(served.record.data[0] as object, { settings: null, colour: "red" });
    expect(await replica.update([served])).toBe(true);
    expect(replica.entry("hd-4")?.channels).toEqual([{ type: "stdout", settings: null }]);
  });
});

describe("a replica refuses (T18)", () => {
  it.each(["ok", 7, {}, [1], [null]])("the answer %j", (answer) =>
    refuses(answer, /directory server's answer is not valid/, "malformed"),
  );

  it("a dropped middle record", async () => {
    const more = ["a", "b", "c"].map((name) => pen.write(admin, name, "groups", []));
    await refuses([more[0], more[2]], /server dropped records.*: record 2 \(groups of c\) follows/);
    await refuses(more.slice(1), /server dropped records: its first one follows/);
  });

  it("a dropped middle record from the beginning too", async () => {
    replica = new Replica(trust);
    await refuses([records[0], ...records.slice(2)], /dropped records/);
    await refuses(records.slice(1), /dropped records: its first one follows/);
  });

  it("records in another order", async () => {
    const more = ["a", "b", "c"].map((name) => pen.write(admin, name, "groups", []));
    await refuses([more[0], more[2], more[1]], /server reordered records: record 2/);
  });

  it("a shorter directory", () => refuses(records.slice(0, 2), /rolled back to record 2 of 4/));

  it("an older directory", async () => {
    const old = new Pen().write(admin, "hd-1", "groups", [], "2021-05-17T10:00:00Z");
    await refuses([old], /rolled back: it offers a directory that began 2021-05-17T10:00:00Z/);
  });

  it("a replaced record", async () => {
    const fork = new Pen(records[1]);
    const others = [fork.write(admin, "x", "groups", []), fork.write(admin, "y", "groups", [])];
    await refuses([...records.slice(0, 2), ...others], /replaced record 3 of 4 by another/);
    await refuses(others, /went back to record 2 of 4/);
  });

  it("a record signed with a key that is not pinned", () =>
    refuses([pen.write(impostor, "hd-1", "groups", ["x"])], /pins for hd-1/, "forbidden"));

  it("a record signed by a stranger, even as a new beginning", async () => {
    await refuses([new Pen().write(stranger, "hd-1", "groups", [])], /is not trusted/, "forbidden");
  });

  it("all of an answer whose last record is forged", async () => {
    const good = pen.write(admin, "hd-4", "groups", []);
    const forged = pen.write(admin, "hd-4", "groups", ["a"]);
    forged.record.data = ["sd-admin"];
    await refuses([good, forged], /^record 2 \(groups of hd-4\): its hash/, "malformed");
    expect(await replica.update([good])).toBe(true);
  });
});
