import { describe, expect, it } from "vitest";
import * as z from "zod";
import { problems, read } from "./folder.ts";

const only = { items: ["main.yml"] };

describe("$include", () => {
  it("merges a file, or several, into the map around it", async () => {
    const files = {
      "main.yml": "a: {$include: [parts/one.yml, parts/two.json], own: 1, list: [0]}\n",
      "parts/one.yml": "one: 1\nlist: [1]\n",
      "parts/two.json": '{"two": 2, "one": 12, "list": [2]}',
    };
    expect(await read(files, only)).toEqual({ a: { own: 1, list: [0, 1, 2], one: 12, two: 2 } });
  });

  it("works at the top of a file", async () => {
    const files = { "main.yml": "$include: base.yml\nname: main", "base.yml": "kind: base" };
    expect(await read(files, only)).toEqual({ name: "main", kind: "base" });
  });

  it("replaces a map that is nothing else by whatever the file holds", async () => {
    const files = {
      "main.yml":
        "a: {$include: list.yml}\nb: {$include: text.json}\nc: [0, {$include: list.yml}, 3]\n",
      "list.yml": "[1, 2]",
      "text.json": '"text"',
    };
    expect(await read(files, only)).toEqual({ a: [1, 2], b: "text", c: [0, 1, 2, 3] });
  });

  it("reads each file with its own DIR and vars", async () => {
    const files = {
      "main.yml":
        "vars: {V: {type: string, source: literal, value: main}}\nv: $V\na: {$include: sub/part.yml}\n",
      "sub/part.yml":
        "vars: {V: {type: string, source: literal, value: part}}\nv: $V\ndir: /$DIR\ncost: $$V\n",
    };
    const settings = (await read(files, only)) as { v: string; a: Record<string, string> };
    expect(settings.v).toBe("main");
    expect(settings.a["v"]).toBe("part");
    expect(settings.a["dir"]).toMatch(/^\/.*\/sub$/);
    expect(settings.a["cost"]).toBe("$V");
    expect(settings.a).not.toHaveProperty("vars");
  });

  it("does not lend its variables to the file that it includes", async () => {
    const files = {
      "main.yml":
        "vars: {V: {type: string, source: literal, value: main}}\na: {$include: part.yml}\n",
      "part.yml": "v: $V\n",
    };
    expect(await problems(files, only)).toEqual([
      expect.stringContaining("~/part.yml:1:4: v: $V is not defined in the vars of this file"),
    ]);
  });

  it("finds files relative to the including one, also from an included one", async () => {
    const files = {
      "main.yml": "a: {$include: one/part.yml}",
      "one/part.yml": "b: {$include: ../two/part.yml}",
      "two/part.yml": "c: 1",
    };
    expect(await read(files, only)).toEqual({ a: { b: { c: 1 } } });
  });

  it("names every include that cannot be had, and complains of nothing that may be in there", async () => {
    const files = {
      "main.yml": `
a: {$include: /etc/passwd.yml}
b: {$include: part.yaml}
c: {$include: nowhere.yml}
d: {$include: 5}
e: {$include: list.yml, own: 1}
`,
      "list.yml": "[1]",
    };
    const schema = z.looseObject({ name: z.string() });
    expect(await problems(files, { ...only, schema })).toEqual([
      "~/main.yml:2:15: a.$include: /etc/passwd.yml must be relative to this file",
      '~/main.yml:3:15: b.$include: part.yaml must end in .yml or .json (did you mean "part.yml"?)',
      "~/nowhere.yml:1:1: there is no such file",
      "~/main.yml:5:15: d.$include: expected the name of a file, or a list of names",
      "~/main.yml:6:5: e: includes something that is not a map, beside other keys",
    ]);
  });

  it("shows a circle of files", async () => {
    const files = {
      "main.yml": "a: {$include: one.yml}",
      "one.yml": "b:\n  $include: two.yml",
      "two.yml": "c: {$include: one.yml}",
    };
    expect(await problems(files, only)).toEqual([
      "~/two.yml:1:15: c: includes itself: ~/one.yml → ~/two.yml → ~/one.yml",
    ]);
  });

  it("ends after a thousand files", async () => {
    const files = Object.fromEntries(
      Array.from({ length: 12 }, (_, i) => [
        `${i}.yml`,
        i === 11 ? "x: 1" : `a: {$include: ${i + 1}.yml}\nb: {$include: ${i + 1}.yml}\n`,
      ]),
    );
    const found = await problems(files, { items: ["0.yml"] });
    expect(found[0]).toContain("includes more than 16 levels or 1000 files");
  });
});

describe("$ref", () => {
  it("stands for a value of the same file", async () => {
    const text = `
tls: {ca: [root.crt], cert: a.crt}
list: [{x: 1}, {x: 2}]
a: {$ref: tls}
b: {$ref: tls.ca.0}
c: [{$ref: list.1}]
d: {$ref: a}
e: {$ref: a.cert}
`;
    expect(await read({ "main.yml": text })).toMatchObject({
      a: { ca: ["root.crt"], cert: "a.crt" },
      b: "root.crt",
      c: [{ x: 2 }],
      d: { ca: ["root.crt"], cert: "a.crt" },
      e: "a.crt",
    });
  });

  it("sees what was included, and is resolved before variables", async () => {
    const files = {
      "main.yml":
        "vars: {V: {type: string, source: literal, value: hello}}\n$include: part.yml\na: {$ref: part.x}\nb: {$ref: c}\nc: $V\nd: {$ref: _vars.V.value}\n",
      "part.yml": "part: {x: 1}",
    };
    expect(await read(files, only)).toEqual({
      part: { x: 1 },
      a: 1,
      b: "hello",
      c: "hello",
      d: "hello",
    });
  });

  it("must lead somewhere, and not back to itself", async () => {
    const text = `
tls: {cert_file: x}
a: {$ref: tls.certfile}
b: {$ref: nowhere}
c: {$ref: c}
d: {e: {$ref: d}}
f: {$ref: [1]}
`;
    expect(await problems({ "main.yml": text })).toEqual([
      '~/main.yml:3:11: a: $ref tls.certfile: there is no "certfile" in tls (did you mean "cert_file"?)',
      '~/main.yml:4:11: b: $ref nowhere: there is no "nowhere" in this file',
      "~/main.yml:5:11: c: $ref c leads back to itself",
      "~/main.yml:6:15: d.e.e: $ref d leads back to itself",
      '~/main.yml:7:5: f: expected a place such as "channels.0.settings"',
    ]);
  });

  it("may not grow without end", async () => {
    const lines = Array.from({ length: 25 }, (_, i) => `a${i + 1}: [{$ref: a${i}}, {$ref: a${i}}]`);
    expect(await problems({ "main.yml": ["a0: [x]", ...lines].join("\n") })).toEqual([
      "~/main.yml:1:1: grows too large by its references",
    ]);
  });
});
