import { describe, expect, it } from "vitest";
import type { Entry } from "../../../../src/directory/entry.ts";
import { fold } from "../../../../src/directory/fold.ts";
import { ChangeRecord } from "../../../../src/directory/record.ts";
import { differences } from "../../../../src/roles/eps/commands/difference.ts";
import { differenceLines } from "../../../../src/roles/eps/commands/submit.ts";

const nobody: ReadonlyMap<string, Entry> = new Map();

function told(entries: ReadonlyMap<string, Entry>, ...changes: [string, string, unknown[]][]) {
  const records = changes.map(([name, section, data]) => ({
    parent_hash: "",
    hash: "",
    signature: null,
    record: ChangeRecord.parse({ name, section, data, created_at: "2026-01-01T00:00:00Z" }),
  }));
  return fold(entries, records);
}

const present = told(
  nobody,
  ["hd-1", "groups", ["a", "b"]],
  ["hd-2", "channels", [{ type: "grpc_server", settings: { address: "x:1" } }]],
);

const lines = (before: ReadonlyMap<string, Entry>, after: ReadonlyMap<string, Entry>): string[] =>
  differences(before, after).flatMap(differenceLines);

describe("the difference that records would make", () => {
  it("is nothing if they say what is known", () => {
    expect(differences(present, told(present, ["hd-1", "groups", ["a", "b"]]))).toEqual([]);
  });

  it("names the operator, the section, what goes and what comes", () => {
    const after = told(
      present,
      ["hd-1", "groups", ["b", "c"]],
      [
        "hd-3",
        "services",
        [{ name: "s", methods: [{ name: "m", permissions: [{ group: "*", rights: ["call"] }] }] }],
      ],
    );
    expect(lines(present, after)).toEqual([
      "hd-1: groups",
      "  - a",
      "  + c",
      "hd-3 (new): services",
      "  + s: nobody",
      "  + s.m: everybody",
    ]);
    expect(differences(present, after)[0]).toMatchObject({
      operator: "hd-1",
      before: ["a", "b"],
      after: ["b", "c"],
    });
  });

  it("shows what a new beginning leaves out", () => {
    expect(lines(present, told(nobody, ["hd-1", "groups", ["a", "b"]]))).toEqual([
      "hd-2 (gone): channels",
      '  - grpc_server  {"address":"x:1"}',
    ]);
  });

  it("says so when only the order differs", () => {
    expect(lines(present, told(present, ["hd-1", "groups", ["b", "a"]]))).toEqual([
      "hd-1: groups",
      "    the same in another order",
    ]);
  });

  it("counts what is there twice", () => {
    expect(lines(present, told(present, ["hd-1", "groups", ["a", "a", "b"]]))).toEqual([
      "hd-1: groups",
      "  + a",
    ]);
  });

  // Each pair differs in one place; a line that did not show it would hide a change from its reader.
  it.each<[string, string, unknown, unknown]>([
    ["a right", "services", service({ rights: [] }), service({ rights: ["call"] })],
    ["a group", "services", service({ group: "x" }), service({ group: "y" })],
    [
      "a validator",
      "services",
      service({ validators: [] }),
      service({ validators: [{ type: "t" }] }),
    ],
    [
      "a whole service",
      "services",
      service({ all: [] }),
      service({ all: [{ group: "*", rights: ["call"] }] }),
    ],
    ["a channel's settings", "channels", { type: "t" }, { type: "t", settings: { a: 1 } }],
    [
      "a purpose",
      "certificates",
      { fingerprint: "f", key_usage: "a" },
      { fingerprint: "f", key_usage: "b" },
    ],
    ["a scope", "settings", setting({ operator: "a" }), setting({ service: "a" })],
    ["a wish", "preferences", setting({ settings: { a: 1 } }), setting({ settings: { a: 2 } })],
  ])("shows %s", (_, section, from, to) => {
    const shown = lines(told(nobody, ["x", section, [from]]), told(nobody, ["x", section, [to]]));
    expect(shown.length).toBeGreaterThanOrEqual(2);
    expect(shown.join()).not.toContain("another order");
  });

  it("cannot be led to hide a line by a name with control characters", () => {
    const [title = "", line = ""] = lines(
      nobody,
      told(nobody, ["x\u001b[1A", "groups", ["\r+ b"]]),
    );
    expect(title + line).toBe("x\\u001b[1A (new): groups  + \\u000d+ b");
  });
});

function service({
  rights = ["call"],
  group = "g",
  validators = [] as unknown[],
  all = [] as unknown[],
}) {
  const method = {
    name: "m",
    permissions: [{ group, rights }],
    parameters: [{ name: "p", validators }],
  };
  return { name: "s", permissions: all, methods: [method] };
}

function setting(more: Record<string, unknown>) {
  return { settings: {}, ...more };
}
