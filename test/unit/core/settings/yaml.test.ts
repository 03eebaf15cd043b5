import { describe, expect, it } from "vitest";
import { problems, read } from "./folder.ts";

describe("a YAML file", () => {
  it.each([
    ["yes", true],
    ["On", true],
    ["y", true],
    ["no", false],
    ["OFF", false],
    ['"yes"', "yes"],
    ["010", 8],
    ["0x1F", 31],
    ["1_000", 1000],
    ["1.5", 1.5],
    ["~", undefined],
    ["2001-01-01", "2001-01-01"],
    ["2026-11-21T04:36:00Z", "2026-11-21T04:36:00Z"],
    ["12:30:45", "12:30:45"],
    ["localhost:4444", "localhost:4444"],
    ["[::1]:80", undefined],
    ["!!str 12", "12"],
  ])("means by %s what the original means [settings 1]", async (written, meant) => {
    if (written.startsWith("[")) {
      expect((await problems({ "1.yml": `a: ${written}` }))[0]).toMatch(
        /^~\/1\.yml:1:\d+: not valid YAML/,
      );
    } else {
      expect(await read({ "1.yml": `a: ${written}` })).toEqual(
        meant === undefined ? {} : { a: meant },
      );
    }
  });

  it("may use anchors, aliases and <<", async () => {
    const text = `
defaults: &tls {ca: root, verify: true}
more: &more {ca: other, extra: 1}
a: *tls
b: {<<: *tls, verify: false}
c: {<<: [*tls, *more]}
`;
    expect(await read({ "1.yml": text })).toMatchObject({
      a: { ca: "root", verify: true },
      b: { ca: "root", verify: false },
      c: { ca: "root", verify: true, extra: 1 },
    });
  });

  it("is refused with the place of its first mistake", async () => {
    expect(await problems({ "1.yml": "a: 1\nb: [1, 2\nc: 3\n" })).toEqual([
      expect.stringMatching(/^~\/1\.yml:\d:\d: not valid YAML: /),
    ]);
    expect((await problems({ "1.yml": "a:\n\t- b" }))[0]).toMatch(
      /^~\/1\.yml:2:\d: not valid YAML: /,
    );
  });

  it.each([
    "*hunter2",
    "!hunter2",
    '"\\hunter2"',
    "|hunter2",
    "@hunter2",
    "%hunter2",
    '"x" hunter2',
  ])("does not give a password away that was not quoted: %s", async (password) => {
    const [problem = "", ...others] = await problems({
      "1.yml": `name: a\npassword: ${password}\n`,
    });
    expect(others).toEqual([]);
    expect(problem).toMatch(/^~\/1\.yml:2:\d+: (password: )?not valid YAML/);
    expect(problem).not.toContain("unter2");
  });

  it.each(["!!binary aGk=", "!!set {a}", "!!timestamp 2001-01-01"])(
    "may not have values that the original cannot have: %s",
    async (value) => {
      expect(await problems({ "1.yml": `a: ${value}` })).toEqual([
        '~/1.yml:1:4: not valid YAML: a value that starts with "!" must be quoted',
      ]);
    },
  );

  it("is told where a key stands twice", async () => {
    expect(await problems({ "1.yml": "a:\n  b: 1\n  c: 2\n  b: 3\n" })).toEqual([
      "~/1.yml:4:3: a.b: is there twice, first in line 2",
    ]);
    expect(await problems({ "1.json": '{"a": 1,\n "a": 2}' })).toEqual([
      "~/1.json:2:2: a: is there twice, first in line 1",
    ]);
  });

  it.each([
    [
      "no: 1",
      "the key no must be quoted or not",
      "the key no must be put in quotes, because it means the boolean false",
    ],
    ["80: 1", "", "the key 80 must be put in quotes, because it means the number 80"],
    ["[a]: 1", "", "a key must be a text"],
  ])("may not have a key that is no text: %s", async (text, _, problem) => {
    expect(await problems({ "1.yml": text })).toEqual([`~/1.yml:1:1: ${problem}`]);
  });

  it("holds one document, which is a map", async () => {
    expect(await problems({ "1.yml": "- a\n- b\n" })).toEqual([
      "~/1.yml:1:1: expected a map of settings",
    ]);
    expect(await problems({ "1.yml": "hello" })).toEqual([
      "~/1.yml:1:1: expected a map of settings",
    ]);
    expect(await problems({ "1.yml": "a: 1\n---\nb: 1\n" })).toEqual([
      expect.stringContaining("a second document (---) is more than one file may hold"),
    ]);
  });

  it("must be UTF-8", async () => {
    const { writeFile } = await import("node:fs/promises");
    const { Folder } = await import("./folder.ts");
    const { loadSettings } = await import("../../../../src/core/settings/load.ts");
    const { z } = await import("zod");
    await using folder = await Folder.with({});
    await writeFile(`${folder.path}/1.yml`, Buffer.from([0x61, 0x3a, 0x20, 0xff, 0xfe]));
    await expect(loadSettings(z.unknown(), "X", { X: folder.path })).rejects.toThrow(
      "the file is not UTF-8 text",
    );
  });

  it.each([
    ["brackets", "[".repeat(50_000)],
    ["maps", "{a: ".repeat(100) + "}".repeat(100)],
    ["an alias within itself", "a: &a [*a]"],
  ])("may not nest without end: %s", async (_, text) => {
    expect((await problems({ "1.yml": `x: ${text}`.replace("x: a:", "a:") }))[0]).toContain(
      "nests deeper than 64 levels",
    );
  });

  it("may not grow without end by its aliases", async () => {
    const lines = Array.from({ length: 20 }, (_, i) => `a${i + 1}: &a${i + 1} [*a${i}, *a${i}]`);
    const found = await problems({ "1.yml": ["a0: &a0 [x]", ...lines].join("\n") });
    expect(found).toEqual([expect.stringContaining("grows too large by its aliases")]);
  });

  it("may not be larger than 1 MiB", async () => {
    expect(await problems({ "1.yml": `a: ${"x".repeat(1024 * 1024)}` })).toEqual([
      "~/1.yml:1:1: the file is larger than 1 MiB",
    ]);
  });
});

describe("a JSON file", () => {
  it("means what JSON means, not what YAML would", async () => {
    const text =
      '\uFEFF{\n\t"a": "yes",\n\t"b": [1.5e1, null, true, "\\u00e9\\ud83d\\ude00\\/"],\n\t"__proto__": 1\n}';
    const settings = (await read({ "1.json": text })) as Record<string, unknown>;
    expect(settings["a"]).toBe("yes");
    expect(settings["b"]).toEqual([15, null, true, "é😀/"]);
    expect(Object.hasOwn(settings, "__proto__")).toBe(true);
  });

  it.each(['{"a": 1,}', "{a: 1}", '{"a": 1} // one', "{'a': 1}", "a: 1"])(
    "may not be merely YAML: %s",
    async (text) => {
      expect(await problems({ "1.json": text })).toEqual([
        expect.stringMatching(/^~\/1\.json:1:\d+: (not valid JSON|this is not JSON)/),
      ]);
    },
  );
});
