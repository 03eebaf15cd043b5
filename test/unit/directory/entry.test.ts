import { describe, expect, it } from "vitest";
import {
  type AppliedRecord,
  clientEntry,
  type Entry,
  emptyEntry,
} from "../../../src/directory/entry.ts";
import { fold } from "../../../src/directory/fold.ts";
import { groupsThatMayCall, mayCall } from "../../../src/directory/permissions.ts";
import { ChangeRecord, normalise } from "../../../src/directory/record.ts";

const T = "2021-05-17T10:00:00Z";
const applied = (section: string, data: unknown[], name = "hd-1"): AppliedRecord => ({
  parent_hash: "",
  hash: "",
  signature: null,
  record: normalise(ChangeRecord, { name, section, data, created_at: T }, "it"),
});
const entryOf = (...records: AppliedRecord[]): Entry =>
  fold(new Map(), records).get("hd-1") ?? emptyEntry("nobody");

describe("an entry", () => {
  it("has the original's keys, in its order, and its nulls [directory 5]", () => {
    const method = {
      name: "m",
      parameters: [{ name: "p" }, { name: "q", validators: [{ type: "v" }] }],
    };
    const entry = entryOf(
      applied("services", [{ name: "s", methods: [method, { name: "n" }] }]),
      applied("channels", [{ type: "grpc_client" }]),
    );
    expect(Object.keys(entry).join()).toBe(
      "name,groups,channels,services,certificates,settings,preferences,records,properties",
    );
    expect(entry).toMatchObject({
      name: "hd-1",
      groups: [],
      channels: [{ type: "grpc_client", settings: null }],
      services: [
        {
          name: "s",
          permissions: [],
          methods: [
            {
              name: "m",
              permissions: [],
              parameters: [
                { name: "p", validators: null },
                { name: "q", validators: [{ type: "v", parameters: null }] },
              ],
            },
            { name: "n", permissions: [], parameters: null },
          ],
        },
      ],
      preferences: null,
      properties: { displayName: "" },
    });
  });

  it("has a section replaced as a whole, and remembers every record", () => {
    const records = [
      applied("groups", ["a", "b"]),
      applied("groups", ["c"]),
      applied("groups", []),
    ];
    expect(entryOf(...records.slice(0, 2)).groups).toEqual(["c"]);
    expect(entryOf(...records)).toMatchObject({ groups: [], records });
  });

  it("is a new one when something changes", () => {
    const before = fold(new Map(), [applied("groups", ["a"])]);
    const after = fold(before, [applied("groups", ["b"]), applied("groups", ["x"], "hd-2")]);
    expect(before.get("hd-1")?.groups).toEqual(["a"]);
    expect(before.size).toBe(1);
    expect([...after.keys()]).toEqual(["hd-1", "hd-2"]);
  });

  it("travels without its records, and with preferences that original proxies accept [addressing 2]", () => {
    const entry = entryOf(
      applied("preferences", [{ service: "locations", settings: { colour: "red" } }]),
    );
    expect(clientEntry(entry)).toMatchObject({
      records: [],
      preferences: [
        {
          operator: "",
          service: "locations",
          environment: "",
          preferences: { colour: "red" },
          settings: { colour: "red" },
        },
      ],
    });
    expect(entry.records).toHaveLength(1);
    expect(entry.preferences?.[0]).not.toHaveProperty("settings");
    expect(clientEntry(emptyEntry("x")).preferences).toBeNull();
  });
});

describe("a permission", () => {
  const may = (...groups: string[]) => [{ group: groups[0], rights: ["call"] }];
  const callee = entryOf(
    applied("services", [
      {
        name: "first",
        permissions: may("all-of-first"),
        methods: [{ name: "a", permissions: may("a") }],
      },
      {
        name: "second",
        methods: [
          { name: "a", permissions: may("late") },
          { name: "b", permissions: may("*") },
          { name: "c", permissions: [{ group: "c", rights: [] }] },
        ],
      },
    ]),
  );
  const from = (...groups: string[]): Entry => ({ ...emptyEntry("caller"), groups });

  it.each<[allowed: boolean, groups: string[], method: string, why: string]>([
    [true, ["a"], "a", "the method names the group"],
    [true, ["x", "all-of-first"], "a", "the service names the group"],
    [false, ["late"], "a", "only the first service with the method counts"],
    [false, ["all-of-first"], "c", "a service speaks for its own methods"],
    [true, [], "b", "* is for everybody"],
    [false, ["*"], "a", "nobody is in a group called * that is not named"],
    [false, ["c"], "c", "the group is named without the right to call"],
    [false, ["a"], "d", "there is no such method"],
  ])("is %s for %j calling %s: %s", (allowed, groups, method) => {
    expect(mayCall(from(...groups), callee, method)).toBe(allowed);
  });

  it("names the groups worth a standing connection, whatever the right", () => {
    expect(groupsThatMayCall(callee)).toEqual(new Set(["all-of-first", "a", "late", "*", "c"]));
  });
});
