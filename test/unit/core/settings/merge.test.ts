import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { merge } from "../../../../src/core/settings/merge.ts";
import { plain, type Tree } from "../../../../src/core/settings/tree.ts";
import { problems, read } from "./folder.ts";

const origin = { file: "x.yml", line: 1, column: 1 };

function tree(value: unknown): Tree {
  if (Array.isArray(value)) return { kind: "list", items: value.map(tree), origin };
  if (typeof value === "object" && value !== null) {
    const entries = Object.entries(value).map(
      ([key, each]) => [key, { key: origin, value: tree(each) }] as const,
    );
    return { kind: "map", entries: new Map(entries), origin };
  }
  return { kind: "leaf", value: value as string, origin };
}

const sum = (...values: unknown[]): unknown => plain(values.map(tree).reduce(merge));

/** Maps whose keys agree on what kind of value they hold; where kinds clash the last one wins. */
const { settings } = fc.letrec<{ settings: Record<string, unknown> }>((tie) => ({
  settings: fc.record(
    {
      name: fc.option(fc.string()),
      port: fc.option(fc.integer()),
      list: fc.option(fc.array(fc.integer(), { maxLength: 3 })),
      tls: fc.option(tie("settings"), { maxDepth: 3 }),
      directory: fc.option(tie("settings"), { maxDepth: 3 }),
    },
    { requiredKeys: [] },
  ),
}));

describe("merging", () => {
  it("does not care how the files are grouped", () =>
    fc.assert(
      fc.property(settings, settings, settings, (a, b, c) => {
        const [x, y, z] = [a, b, c].map(tree) as [Tree, Tree, Tree];
        expect(plain(merge(merge(x, y), z))).toEqual(plain(merge(x, merge(y, z))));
      }),
    ));

  it("changes neither side", () =>
    fc.assert(
      fc.property(settings, settings, (a, b) => {
        const [x, y] = [tree(a), tree(b)];
        const before = JSON.stringify([plain(x), plain(y)]);
        merge(x, y);
        expect(JSON.stringify([plain(x), plain(y)])).toBe(before);
      }),
    ));

  it("adds lists up, in order", () =>
    fc.assert(
      fc.property(
        fc.array(fc.anything()),
        fc.array(fc.integer()),
        fc.array(fc.integer()),
        (_, a, b) => {
          expect(sum({ list: a }, { list: b })).toEqual({ list: [...a, ...b] });
        },
      ),
    ));

  it("mixes maps at every depth", () => {
    expect(sum({ a: { b: { c: 1, d: 2 } }, x: 1 }, { a: { b: { d: 3, e: 4 } } })).toEqual({
      a: { b: { c: 1, d: 3, e: 4 } },
      x: 1,
    });
  });

  it("lets the later value win where the kinds differ", () => {
    expect(sum({ a: { b: 1 } }, { a: [1] })).toEqual({ a: [1] });
    expect(sum({ a: [1] }, { a: "x" })).toEqual({ a: "x" });
    expect(sum({ a: false }, { a: { b: 1 } })).toEqual({ a: { b: 1 } });
  });

  it("lets null change nothing, on either side", () => {
    expect(sum({ a: 1, b: null, c: [1] }, { a: null, b: 2, c: null })).toEqual({
      a: 1,
      b: 2,
      c: [1],
    });
  });

  it("overwrites by a key that ends in an exclamation mark", () => {
    expect(sum({ a: [1, 2], m: { x: 1 } }, { "a!": [3], "m!": { y: 2 } })).toEqual({
      a: [3],
      m: { y: 2 },
    });
    expect(sum({ deep: { list: [1] } }, { deep: { "list!": [] } })).toEqual({ deep: { list: [] } });
    expect(sum({ a: 1 }, { "a!": null })).toEqual({});
  });

  it("takes the mark off a key that had nothing to overwrite", async () => {
    const files = { "1.yml": "a!: 1\nb: {c!: [{d!: 2}]}\n" };
    expect(await read(files)).toEqual({ a: 1, b: { c: [{ d: 2 }] } });
  });

  it("lets channels of several folders add up [settings 1]", async () => {
    const files = {
      "base/1.yml": "channels: [{name: one}]\nname: base",
      "mine/1.yml": "channels: [{name: two}]\nname: mine",
      "bare/1.yml": "channels!: [{name: three}]",
    };
    expect(await read(files, { items: ["base", "mine"] })).toEqual({
      name: "mine",
      channels: [{ name: "one" }, { name: "two" }],
    });
    expect(await read(files, { items: ["base", "mine", "bare"] })).toEqual({
      name: "mine",
      channels: [{ name: "three" }],
    });
  });

  it("does not repeat a problem of a file that is named twice", async () => {
    expect(await problems({ "1.yml": "a: $X" }, { items: ["", "1.yml"] })).toHaveLength(1);
  });
});
