import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, it } from "vitest";

// Ground floor first. A file may look down, never up, and never into the flat next door.
const FLOORS = [
  "core",
  "wire",
  "store",
  "net",
  "rpc",
  "directory",
  "relay",
  "broker",
  "roles",
  "bin",
];

const read = (root: string) =>
  readdirSync(root, { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".ts"))
    .map((file) => ({ file, text: readFileSync(join(root, file), "utf8") }));

const sources = read("src");
const tests = read("test");

const floor = (file: string): number => FLOORS.indexOf(file.split("/")[0] ?? "");
const flat = (file: string): string => /^roles\/[\w-]+(?=\/)/.exec(file)?.[0] ?? "";
const imports = (text: string): string[] =>
  [...text.matchAll(/from "(\.[^"]+)"/g)].map(([, path = ""]) => path);

describe("the house", () => {
  it.each(sources)("$file leans only on what is below it", ({ file, text }) => {
    for (const path of imports(text)) {
      const target = join(dirname(file), path);
      expect.soft(floor(target), target).toBeGreaterThanOrEqual(0);
      expect.soft(floor(target), target).toBeLessThanOrEqual(floor(file));
      if (flat(file) && flat(target)) expect.soft(flat(target)).toBe(flat(file));
    }
  });

  it.each(sources)("$file can be read in one sitting", ({ text }) => {
    expect(text.split("\n").length).toBeLessThanOrEqual(350);
  });

  it("has no cycles", () => {
    const graph = new Map(
      sources.map(({ file, text }) => [file, imports(text).map((p) => join(dirname(file), p))]),
    );
    const walked = new Set<string>();
    const walk = (file: string, trail: string[]): void => {
      if (trail.includes(file)) expect.fail([...trail, file].join(" → "));
      if (walked.has(file)) return; // whatever is behind it was looked at
      walked.add(file);
      for (const next of graph.get(file) ?? []) walk(next, [...trail, file]);
    };
    for (const file of graph.keys()) walk(file, []);
  });

  it.each(sources)("$file exports nothing that nobody uses", ({ file, text }) => {
    const everyoneElse = [...sources, ...tests].filter((other) => other.file !== file);
    for (const [, name = ""] of text.matchAll(
      /^export (?:async )?(?:function\*?|class|abstract class|const|type|interface) (\w+)/gm,
    )) {
      const used = everyoneElse.some((other) => new RegExp(`\\b${name}\\b`).test(other.text));
      expect.soft(used, `${name} is exported and used nowhere`).toBe(true);
    }
  });
});
