import { describe, expect, it } from "vitest";
import * as z from "zod";
import { Fault } from "../../../../src/core/fault.ts";
import { defaultTo, endpoint, optional, rule } from "../../../../src/core/settings/shapes.ts";
import { load, problems } from "./folder.ts";

const Server = z.strictObject({ bind_address: endpoint, path: defaultTo("/rpc", z.string()) });
const Schema = z.strictObject({
  name: z.string(),
  level: defaultTo("info", z.enum(["info", "debug"])),
  server: optional(Server),
  channels: defaultTo(
    [],
    z.array(
      z.discriminatedUnion("type", [
        z.strictObject({ type: z.literal("grpc_server"), settings: Server }),
        z.strictObject({ type: z.literal("stdout") }),
      ]),
    ),
  ),
  store: optional(z.strictObject({ password: z.string(), port: defaultTo(1, z.number()) })),
});

const wrong = (text: string) => problems({ "1.yml": text }, { schema: Schema });

describe("problems", () => {
  it("come all at once, each with its place, in one fault", async () => {
    const files = {
      "1.yml": "name: 5\nlevel: inf\nserver:\n  bind_address: nowhere\n  path: [/rpc]\n",
      "2.yml": "channels:\n  - type: grpc_server\n    settings: {}\n  - type: std-out\na: $NOPE\n",
      "3.yml": "b: [1\n",
    };
    const outcome = load(Schema, files);
    await expect(outcome).rejects.toThrow(Fault);
    await expect(outcome).rejects.toMatchObject({ fault: "settings" });
    expect(await problems(files, { schema: Schema })).toEqual([
      expect.stringContaining("~/2.yml:5:4: a: $NOPE is not defined"),
      expect.stringMatching(/^~\/3\.yml:\d:\d: not valid YAML/),
      '~/1.yml:1:7: name: expected a text, found the number 5 (a text like this needs quotes: "…")',
      '~/1.yml:2:8: level: expected one of info, debug, found "inf" (did you mean "info"?)',
      '~/1.yml:4:17: server.bind_address: expected host:port such as "localhost:4444", ":4444" or "[::1]:4444", found "nowhere"',
      "~/1.yml:5:3: server.path: expected a text, found a list",
      '~/2.yml:4:11: channels.1.type: expected one of grpc_server, stdout, found "std-out" (did you mean "stdout"?)',
    ]);
  });

  it("have a heading that names the variable and counts", async () => {
    await expect(load(Schema, { "1.yml": "name: 5" })).rejects.toThrow(
      /^a problem in the settings \(TEST_SETTINGS=~\):\n {2}~\/1\.yml:1:7: name: /,
    );
    await expect(load(Schema, { "1.yml": "name: 5\nlevel: 5" })).rejects.toThrow(
      /^2 problems in the /,
    );
  });

  it("name the map in which a key is missing", async () => {
    expect(await wrong("name: a\n\nserver:\n  path: /\n")).toEqual([
      "~/1.yml:3:1: server.bind_address: is required",
    ]);
    expect(await wrong("level: info\n")).toEqual(["~/1.yml:1:1: name: is required"]);
    expect(await wrong("name: null\n")).toEqual(["~/1.yml:1:1: name: is required"]);
    expect(await wrong("name: a\nchannels:\n- type: grpc_server\n")).toEqual([
      "~/1.yml:3:3: channels.0.settings: is required",
    ]);
  });

  it("recognise the key that was meant", async () => {
    expect(await wrong("name: a\nserver:\n  bind_adress: x:1\n")).toEqual([
      '~/1.yml:3:3: server.bind_address: is required, but there is "bind_adress" (did you mean "bind_address"?)',
    ]);
    expect(await wrong("name: a\nserver: {bindAddress: x:1}\n")).toEqual([
      '~/1.yml:2:10: server.bind_address: is required, but there is "bindAddress" (did you mean "bind_address"?)',
    ]);
    expect(await wrong("name: a\nchannels:\n- typ: stdout\n")).toEqual([
      '~/1.yml:3:3: channels.0.type: is required, but there is "typ" (did you mean "type"?)',
    ]);
    expect(await wrong("name: a\nserver: {colour: red}\n")).toEqual([
      "~/1.yml:2:1: server.bind_address: is required",
    ]);
  });

  it("do not call something missing that stands in a file which cannot be read", async () => {
    const files = { "1.yml": "name: [", "2.yml": "level: 5" };
    const found = await problems(files, { schema: Schema });
    expect(found).toHaveLength(2);
    expect(found[1]).toBe("~/2.yml:1:8: level: expected one of info, debug, found the number 5");
  });

  it("do not multiply when a value that cannot be had meets another file", async () => {
    const files = { "1.yml": "name: a\nserver: $NOPE", "2.yml": "server: {path: /}" };
    expect(await problems(files, { schema: Schema })).toEqual([
      expect.stringContaining("~/1.yml:2:9: server: $NOPE is not defined"),
    ]);
  });

  it("never show what is secret", async () => {
    const texts = [
      "password: 12345",
      "password: [12345]",
      "password: {a: 12345}",
      "password: $OPSECRET12345",
    ];
    for (const text of texts) {
      const found = await wrong(`name: a\nstore: {${text}, port: x}\n`);
      expect(found).toHaveLength(2);
      expect(found.join("\n")).toContain("store.password: ");
      expect(found.join("\n")).not.toContain("12345");
    }
  });

  it("keep their place through merging, including, references and variables", async () => {
    const files = {
      "1.yml": "name: a\nserver:\n  path: 1\nchannels:\n  - {type: stdout}\n",
      "2.yml": `
vars:
  LIT: {type: any, source: literal, value: 66}
  ENV: {type: any, source: env, variable: LEVEL}
level: $ENV
channels:
  - $include: part/channel.yml
  - $ref: other
store: {password: x, port: $ENV}
server: {bind_address: $LIT}
other: {type: grpc_server, settings: {bind_address: 5}}
`,
      "part/channel.yml": "type: grpc_server\nsettings:\n  bind_address: oops-$PATH\n",
    };
    const found = await problems(files, { schema: Schema, env: { LEVEL: "loud" } });
    const hostPort = 'expected host:port such as "localhost:4444", ":4444" or "[::1]:4444"';
    expect(found.map((each) => each.replace(/"oops.*"$/, '"oops"'))).toEqual([
      '~/2.yml:5:8: level: expected one of info, debug, found "loud" (from LEVEL)',
      '~/2.yml:3:44: server.bind_address: expected a text, found the number 66 (a text like this needs quotes: "…")',
      '~/1.yml:3:9: server.path: expected a text, found the number 1 (a text like this needs quotes: "…")',
      `~/part/channel.yml:3:17: channels.1.settings.bind_address: ${hostPort}, found "oops"`,
      '~/2.yml:11:53: channels.2.settings.bind_address: expected a text, found the number 5 (a text like this needs quotes: "…")',
      '~/2.yml:9:28: store.port: expected a number, found "loud" (from LEVEL)',
    ]);
  });

  it("of a rule about several keys appear beside other problems in the same map", async () => {
    const schema = z
      .strictObject({ a: optional(z.number()), b: optional(z.number()), c: z.number() })
      .check(
        rule((value, complain) => "a" in Object(value) && complain(["b"], "is missing beside a")),
      );
    expect(await problems({ "1.yml": "a: 1\nc: x\n" }, { schema })).toEqual([
      '~/1.yml:2:4: c: expected a number, found "x"',
      "~/1.yml:1:1: b: is missing beside a",
    ]);
  });

  it("are shown relative to where the program runs", async () => {
    const { loadSettings } = await import("../../../../src/core/settings/load.ts");
    const missing = loadSettings(z.unknown(), "X", { X: `${process.cwd()}/settings/nowhere` });
    await expect(missing).rejects.toThrow("\n  settings/nowhere: there is no such file or folder");
  });
});

describe("unknown keys", () => {
  it("are warned of and left out, with the key that was meant", async () => {
    const text = `name: a
levle: debug
server: {bind_address: "a:1", pfad: /}
channels:
  - type: stdout
    services: [1]
colour: {red: {green: 1}}
`;
    const { settings, warnings } = await load(Schema, { "1.yml": text });
    expect(settings).toEqual({
      name: "a",
      level: "info",
      server: { bind_address: "a:1", path: "/rpc" },
      channels: [{ type: "stdout" }],
    });
    expect(warnings.map((each) => each.replace(/^.*1\.yml/, "1.yml"))).toEqual([
      "1.yml:3:31: server.pfad: is unknown and ignored",
      "1.yml:6:5: channels.0.services: is unknown and ignored",
      '1.yml:2:1: levle: is unknown and ignored (did you mean "level"?)',
      "1.yml:7:1: colour: is unknown and ignored",
    ]);
  });

  it("do not keep other problems from being found", async () => {
    expect(await wrong("name: 5\nlevle: debug\n")).toEqual([
      '~/1.yml:1:7: name: expected a text, found the number 5 (a text like this needs quotes: "…")',
    ]);
  });
});
