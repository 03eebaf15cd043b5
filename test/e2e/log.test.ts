import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { stripVTControlCharacters } from "node:util";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { describeWith } from "../support/tools.ts";
import { until } from "../support/until.ts";

/** What each program needs at least to run. The key that nobody knows makes it say something first. */
const SETTINGS = {
  eps: `
name: op-1
directory: {type: json, settings: {path: "/$DIR/empty.json"}}
channels: [{name: desk, type: jsonrpc_server, settings: {bind_address: "localhost:0"}}]
colour: blue
`,
  sd: `
jsonrpc_server: {bind_address: "localhost:0"}
directory: {datastore: {type: memory, settings: {}}, ca_certificate_files: []}
colour: blue
`,
  proxy: `
private:
  name: private-proxy-1.ga
  datastore: {type: memory, settings: {}}
  jsonrpc_client: {endpoint: "http://localhost:1/jsonrpc"}
  jsonrpc_server: {bind_address: "localhost:0"}
  internal_endpoint: {}
colour: blue
`,
};
const COMMANDS = { eps: ["server", "run"], sd: ["run"], proxy: ["run", "private"] };
type Name = keyof typeof SETTINGS;
const NAMES = Object.keys(SETTINGS) as Name[];

let folder: string;
let squatter: Server;
const running: ChildProcess[] = [];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "eps-log-"));
  squatter = createServer().listen(0, "127.0.0.1");
  await once(squatter, "listening");
  const { port } = squatter.address() as { port: number };
  await writeFile(join(folder, "empty.json"), '{"records": []}');
  await writeFile(join(folder, "taken.yml"), `metrics: {bind_address: "localhost:${port}"}\n`);
  for (const name of NAMES) await writeFile(join(folder, `${name}.yml`), SETTINGS[name]);
});
afterEach(async () => {
  for (const child of running.splice(0)) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    child.kill("SIGKILL");
    await once(child, "exit");
  }
});
afterAll(async () => {
  squatter.close();
  await rm(folder, { recursive: true });
});

function environment(name: Name, ...more: string[]): NodeJS.ProcessEnv {
  const { NO_COLOR: _, FORCE_COLOR: __, ...env } = process.env;
  const files = [name, ...more].map((each) => join(folder, `${each}.yml`));
  return { ...env, [`${name.toUpperCase()}_SETTINGS`]: files.join(":") };
}

/** Runs a program with its standard error in a pipe until it has said enough, then asks it to leave. */
async function piped(name: Name, flags: string[], enough: RegExp): Promise<string[]> {
  const argv = [`dist/bin/${name}.js`, ...flags, ...COMMANDS[name]];
  const child = spawn(process.execPath, argv, {
    env: environment(name),
    stdio: ["ignore", "ignore", "pipe"],
  });
  running.push(child);
  let said = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    said += text;
  });
  const closed = once(child, "close");
  await until(
    () => enough.test(said),
    () => `${name} says ${enough}, not only ${said}`,
  );
  child.kill("SIGTERM");
  await closed;
  return said.trim().split("\n");
}

describe.each(NAMES)("the log of %s in a pipe", (name) => {
  it("is one JSON object a line, with level, time, service and message", async () => {
    const lines = (await piped(name, [], /ready/)).map((line) => JSON.parse(line));
    for (const line of lines) {
      expect(line).toMatchObject({
        level: expect.stringMatching(/^(info|warn)$/),
        time: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
        service: name,
        msg: expect.any(String),
      });
    }
    expect(lines[0]).toMatchObject({ level: "warn", msg: expect.stringMatching(/colour: is unk/) });
    expect(lines.map(({ msg }) => msg)).toEqual(expect.arrayContaining(["ready", "stopping"]));
  });

  it("is in the original's form with --format iris, without what --level leaves out", async () => {
    const lines = await piped(name, ["--format", "iris", "--level", "WARNING"], /colour/);
    const tag = name.toUpperCase().padEnd(3, "_").slice(0, 3);
    expect(lines).toEqual([
      expect.stringMatching(
        new RegExp(
          `^\\d{4}-\\d\\d-\\d\\dT[\\d:.]+Z WARNING \\d+ ${tag} \\[nan\\] \\[nan\\] : .*colour`,
        ),
      ),
    ]);
  });
});

it("refuses a level that there is not, as wrong usage", async () => {
  const child = spawn(process.execPath, ["dist/bin/sd.js", "--level", "loud", "run"], {
    env: environment("sd"),
    stdio: ["ignore", "ignore", "pipe"],
  });
  running.push(child);
  let said = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    said += text;
  });
  const [code] = await once(child, "close");
  expect([code, said]).toEqual([2, expect.stringContaining("Allowed choices are panic, fatal")]);
});

describeWith(["script"], "a log on a terminal", () => {
  /** What a program says on a terminal until it finds that an address is taken, which ends it. */
  async function onTerminal(name: Name, more: NodeJS.ProcessEnv): Promise<string> {
    const command = [process.execPath, `dist/bin/${name}.js`, ...COMMANDS[name]].join(" ");
    const child = spawn("script", ["--quiet", "--command", command, "/dev/null"], {
      env: { ...environment(name, "taken"), ...more },
      stdio: ["ignore", "pipe", "ignore"],
    });
    running.push(child);
    let said = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      said += text;
    });
    await once(child, "close");
    return said;
  }

  const ESCAPE = "\u001b[";

  it.each(NAMES)("of %s is for people, in colours", async (name) => {
    const said = await onTerminal(name, {});
    expect(stripVTControlCharacters(said)).toMatch(/^\[[\d:.]+\] WARN: .*colour: is unknown/);
    expect(said).toContain(`${ESCAPE}33mWARN`);
    expect(said).toMatch(/metrics: bind_address/);
  });

  it("has no colours with NO_COLOR, unless that is empty", async () => {
    const [plain, coloured] = await Promise.all(
      ["1", ""].map((NO_COLOR) => onTerminal("eps", { NO_COLOR })),
    );
    expect(plain).toContain("WARN");
    expect(plain).not.toContain(ESCAPE);
    expect(coloured).toContain(`${ESCAPE}33mWARN`);
  });
});
