import { PassThrough } from "node:stream";
import { afterEach, describe, expect, it } from "vitest";
import * as z from "zod";
import { loadSettings } from "../../../../src/core/settings/load.ts";
import { Prompts } from "../../../../src/core/settings/prompts.ts";
import { Folder, load, problems, read } from "./folder.ts";

const literal = (name: string, type: string, value: string): string =>
  `  ${name}: {type: ${type}, source: literal, value: ${value}}\n`;

const VARS = `vars:
  OP: {type: string, source: env, variable: EPS_OP}
${literal("PORT", "int", "4444")}${literal("WAIT", "float", '"1.5"')}${literal("LIST", "any", "[a, b]")}${literal("LIVE", "any", "yes")}`;
const env = { EPS_OP: "hd-1" };

describe("variables", () => {
  it.each([
    ["$OP", "hd-1"],
    ["$PORT", 4444],
    ["$WAIT", 1.5],
    ["$LIST", ["a", "b"]],
    ["$LIVE", true],
    ["certs/$OP.crt", "certs/hd-1.crt"],
    ["localhost:$PORT", "localhost:4444"],
    ["$OP-$OP", "hd-1-hd-1"],
    ["$$OP", "$OP"],
    ["$$", "$"],
    ["5$", "5$"],
    ["^a$|$1", "^a$|$1"],
    ["$_OP", "$_OP"],
    ["$$$OP", "$hd-1"],
  ])("put into %s make %j", async (text, value) => {
    const settings = await read({ "1.yml": `${VARS}a: '${text}'\nb: {c: ['${text}']}\n` }, { env });
    expect(settings).toEqual({ a: value, b: { c: [value] } });
  });

  it("leave keys alone", async () => {
    expect(await read({ "1.yml": `${VARS}$OP: 1` }, { env })).toEqual({ $OP: 1 });
  });

  it("are not looked for in what they bring along", async () => {
    const text = `vars:\n${literal("A", "any", "[$B, $$]")}a: $A\nb: $E\n`.replace(
      "a:",
      "  E: {type: any, source: env, variable: E}\na:",
    );
    expect(await read({ "1.yml": text }, { env: { E: "$DIR" } })).toEqual({
      a: ["$B", "$$"],
      b: "$DIR",
    });
  });

  it("end with their file", async () => {
    const files = { "1.yml": `${VARS}a: $OP`, "2.yml": "b: $OP" };
    expect(await problems(files, { env })).toEqual([
      '~/2.yml:1:4: b: $OP is not defined in the vars of this file (a "$" that means itself is written "$$")',
    ]);
  });

  it("include where the file is, without the first slash [settings 1]", async () => {
    const dir = literal("DIR", "string", "mine");
    await using folder = await Folder.with({
      "sub/1.yml": `vars:\n${dir}path: $PATH\ndir: $DIR\ncert: /$DIR/../c.crt\n`,
    });
    const value = `${folder.path}/sub`;
    const { settings } = await loadSettings(z.unknown(), "X", { X: value });
    expect(settings).toEqual({
      path: `${value.slice(1)}/1.yml`,
      dir: value.slice(1),
      cert: `${value}/../c.crt`,
    });
  });

  it.each([
    ["{type: int, source: literal, value: '12'}", 12],
    ["{type: int, source: literal, value: -3}", -3],
    ["{type: int, source: env, variable: NUM}", 7],
    ["{type: float, source: literal, value: 2}", 2],
    ["{type: float, source: literal, value: '1e3'}", 1000],
    ["{type: any, source: env, variable: NUM}", "7"],
    ["{type: string, source: env, variable: NUM}", "7"],
  ])("have a type: %s is %j", async (declaration, value) => {
    const text = `vars: {V: ${declaration}}\na: $V\n`;
    expect(await read({ "1.yml": text }, { env: { NUM: "7" } })).toEqual({ a: value });
  });

  it.each([
    ["5", "expected a map with type and source, found the number 5"],
    ["{source: env, variable: NUM}", "type: is required"],
    ["{type: string}", "source: is required"],
    [
      "{type: text, source: env, variable: NUM}",
      'type: expected one of string, int, float, any, found "text"',
    ],
    [
      "{type: string, source: enf, variable: NUM}",
      'source: expected one of env, literal, prompt, found "enf" (did you mean "env"?)',
    ],
    ["{type: string, source: env}", "variable: is required"],
    ["{type: string, source: env, variable: M}", "variable: the environment variable M is not set"],
    ["{type: string, source: literal}", "value is required, because the source is literal"],
    ["{type: string, source: literal, value: 5}", "expected a text, found the number 5"],
    ["{type: int, source: literal, value: 1.5}", "expected a whole number, found the number 1.5"],
    ["{type: int, source: env, variable: NUM}", 'expected a whole number in NUM, found "seven"'],
    ["{type: float, source: literal, value: [1]}", "expected a number, found a list"],
    [
      "{type: string, source: prompt, sensitive: maybe}",
      'sensitive: expected true or false, found "maybe"',
    ],
  ])("must be declared properly: %s", async (declaration, problem) => {
    // What uses a variable that could not be had is not complained of a second time.
    const files = { "1.yml": `vars: {V: ${declaration}}\na: $V\nb: x$V\n` };
    const schema = z.strictObject({ a: z.string(), b: z.string() });
    const found = await problems(files, { env: { NUM: "seven" }, schema });
    expect(found).toHaveLength(1);
    expect(found[0]).toMatch(/^~\/1\.yml:1:\d+: vars\.V/);
    expect(found[0]?.endsWith(problem)).toBe(true);
  });

  it("are suggested when a name comes close, and cannot be lists within a text", async () => {
    const text = `${VARS}a: $PORTS\nb: x-$LIST\nc: x-$LIVE\n`;
    expect(await problems({ "1.yml": text }, { env })).toEqual([
      '~/1.yml:7:4: a: $PORTS is not defined in the vars of this file (did you mean "PORT"?)',
      "~/1.yml:8:4: b: $LIST is neither text nor number",
      "~/1.yml:9:4: c: $LIVE is neither text nor number",
    ]);
  });

  it("do not turn a password with a dollar in it into a message", async () => {
    const [problem, ...others] = await problems({ "1.yml": "password: pa$sw0rd" });
    expect(others).toEqual([]);
    expect(problem).toMatch(/^~\/1\.yml:1:11: password: names a variable that is not defined/);
    expect(problem).not.toContain("sw0rd");
  });

  it("must be in a map", async () => {
    expect(await problems({ "1.yml": "vars: [1]" })).toEqual([
      "~/1.yml:1:1: vars: expected a map of variables",
    ]);
    expect(await read({ "1.yml": "vars:\na: 1" })).toEqual({ a: 1 });
  });

  it("warn of keys in their declaration that mean nothing", async () => {
    const text = "vars: {V: {type: any, source: literal, value: 1, sensitiv: yes}}\na: $V";
    const { warnings } = await load(z.unknown(), { "1.yml": text });
    expect(warnings).toEqual([
      expect.stringMatching(
        /1\.yml:1:50: vars\.V\.sensitiv: is unknown and ignored \(did you mean "sensitive"\?\)$/,
      ),
    ]);
  });
});

describe("prompted variables", () => {
  const terminal = Object.getOwnPropertyDescriptors(process);
  afterEach(() => {
    Object.defineProperties(process, { stdin: terminal.stdin, stderr: terminal.stderr });
  });

  /** Types the answers in before anybody asks, and returns what is asked. */
  function answer(lines: string): PassThrough {
    const [input, asked] = [new PassThrough(), new PassThrough()];
    Object.defineProperty(process, "stdin", { value: input, configurable: true });
    Object.defineProperty(process, "stderr", { value: asked, configurable: true });
    input.end(lines);
    return asked;
  }

  it("are read from standard input, one line each, in the order of the files", async () => {
    const asked = answer("hd-1\n4444\nlast\n");
    const files = {
      "1.yml":
        "vars:\n  OP: {type: string, source: prompt}\n  PORT: {type: int, source: prompt}\na: $OP\nb: $PORT\n",
      "2.yml": "vars: {Z: {type: any, source: prompt, sensitive: yes}}\nc: $Z\nd: <$Z>\n",
    };
    expect(await read(files)).toEqual({ a: "hd-1", b: 4444, c: "last", d: "<last>" });
    expect(String(asked.read())).toBe("OP: \nPORT: \nZ: \n");
  });

  it("are missed when standard input ends", async () => {
    answer("");
    expect(await problems({ "1.yml": "vars: {V: {type: string, source: prompt}}\na: $V" })).toEqual(
      ["~/1.yml:1:8: vars.V: was asked for on standard input, which ended without an answer"],
    );
  });

  it("do not appear in problems when they are sensitive", async () => {
    answer("hunter2\nhunter2\n");
    const text = `vars:
  A: {type: any, source: prompt, sensitive: true}
  B: {type: int, source: prompt, sensitive: true}
a: $A
b: x$A
`;
    const schema = z.strictObject({ a: z.number(), b: z.number() });
    const found = await problems({ "1.yml": text }, { schema });
    expect(found).toHaveLength(3);
    expect(found.join("\n")).not.toContain("hunter2");
  });

  it("are not echoed on a terminal when they are sensitive", async () => {
    const input = Object.assign(new PassThrough(), { isTTY: true, setRawMode: () => input });
    const output = new PassThrough();
    let screen = "";
    output.on("data", (chunk) => {
      screen += chunk;
    });
    using prompts = new Prompts(input, output);

    const name = prompts.ask("NAME: ", { hidden: false });
    input.write("alice\r");
    expect(await name).toBe("alice");
    const password = prompts.ask("PASSWORD: ", { hidden: true });
    input.write("hunter2\r");
    expect(await password).toBe("hunter2");

    expect(screen).toContain("NAME: ");
    expect(screen).toContain("alice");
    expect(screen).toContain("PASSWORD: ");
    expect(screen).not.toContain("hunter2");
  });
});
