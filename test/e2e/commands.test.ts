import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Town } from "../../src/roles/dev/town.ts";
import { describeWith } from "../support/tools.ts";
import { foundTown, GATEWAY, settingsWithCertificates, startPing } from "../support/town.ts";

let dev: Awaited<ReturnType<typeof settingsWithCertificates>>;
let town: Town;

beforeAll(async () => {
  dev = await settingsWithCertificates();
  // So many commands in a row are what the limit of new connections is against.
  const sd = join(dev.folder, "roles/sd-1/001_default.yml");
  await writeFile(sd, (await readFile(sd, "utf8")).replace("limit: 10\n", "limit: 1000\n"));
  town = await foundTown(dev.folder);
  await startPing(town);
});
afterAll(async () => {
  await town[Symbol.asyncDispose]();
  await dev[Symbol.asyncDispose]();
});

type Ended = { code: number | null; out: string; err: string };
type Where = { as?: string; settings?: string; input?: string; env?: NodeJS.ProcessEnv };

/** Runs one of our programs to its end, with the settings of a role of the town. */
async function run(
  argv: string[],
  { as = "hd-1", settings = town.settings(as), input = "", env = {} }: Where = {},
): Promise<Ended> {
  const [program = "", ...args] = argv;
  const variable = `${program.toUpperCase()}_SETTINGS`;
  const child = spawn(process.execPath, [`dist/bin/${program}.js`, ...args], {
    env: { ...process.env, NO_COLOR: "1", ...env, [variable]: settings },
  });
  child.stdin.end(input);
  const [out, err] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, "exit"),
  ]);
  return { code: child.exitCode, out, err };
}

const parsed = ({ out }: Ended): never => JSON.parse(out) as never;

const tip = () => town.call({ role: "sd-1", port: 3322, as: "hd-1" }, { method: "getTip" });

/** A file with one change: another group for hd-2. */
async function change(name: string, data: string[]): Promise<string> {
  const file = join(town.folder, name);
  const records = [{ name: "hd-2", section: "groups", data }];
  await writeFile(file, JSON.stringify({ records }));
  return file;
}

describe("eps call", () => {
  it("prints the result, in one line where nobody reads along", async () => {
    const { code, out } = await run(["eps", "call", "hd-2._ping", '{"a": 1}']);
    expect(code).toBe(0);
    expect(out.trimEnd().split("\n")).toHaveLength(1);
    expect(JSON.parse(out)).toMatchObject({ params: { a: 1 }, serverInfo: { name: "hd-2" } });
  });

  it("takes parameters from a file or from standard input", async () => {
    const file = join(town.folder, "params.json");
    await writeFile(file, '{"from": "a file"}');
    const [byFile, byInput] = await Promise.all([
      run(["eps", "call", "hd-2._ping", `@${file}`, "--id", "7"]),
      run(["eps", "call", "hd-2._ping", "-"], { input: '{"from": "input"}' }),
    ]);
    expect(parsed(byFile)).toMatchObject({ params: { from: "a file" } });
    expect(parsed(byInput)).toMatchObject({ params: { from: "input" } });
  });

  it("fails with the code of an error answer, and with what is wrong with the parameters", async () => {
    const [denied, list, noJson] = await Promise.all([
      run(["eps", "call", "hd-2.secret"]),
      run(["eps", "call", "hd-2._ping", "[1]"]),
      run(["eps", "call", "hd-2._ping", "{"]),
    ]);
    expect(denied).toMatchObject({ code: 1, out: "" });
    expect(denied.err).toMatch(/^error: Permission denied for method 'secret'.* \(code 403\)/);
    expect(list).toMatchObject({ code: 1, err: expect.stringContaining("is no JSON object") });
    expect(noJson).toMatchObject({ code: 1, err: expect.stringContaining("is no JSON:") });
  });

  it("says that the endpoint does not run", async () => {
    const ended = await run(["eps", "call", "hd-1._ping"], { as: "op-1" });
    expect(ended).toMatchObject({ code: 1, err: expect.stringContaining("eps server run") });
  });
});

describe("eps ping", () => {
  it("prints a line for each and statistics", async () => {
    const { code, out } = await run(["eps", "ping", "hd-2", "-c", "2", "-i", "0.01"]);
    expect(code).toBe(0);
    expect(out).toMatch(
      /^PING hd-2 through https:\S+\nhd-2: seq=1 {2}time=.* ms.*\nhd-2: seq=2 .*\n/,
    );
    expect(out).toMatch(/\nhd-2: 2 pings, 2 answered, 0 lost\nmin\/avg\/p99\/max = .* ms\n$/);
  });

  it("prints objects for programs", async () => {
    const { out } = await run(["eps", "ping", "hd-2", "-c", "1", "--json"]);
    const [ping, sum] = out
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(ping).toMatchObject({ operator: "hd-2", seq: 1, ms: expect.any(Number) });
    expect(sum).toMatchObject({ operator: "hd-2", count: 1, answered: 1, lost: 0 });
  });

  it("fails if nobody answers, and says why", async () => {
    const ended = await run(["eps", "ping", "hd-9", "-c", "1"]);
    expect(ended.code).toBe(1);
    expect(ended.out).toMatch(/hd-9: seq=1 {2}lost {2}.*no directory entry found/);
  });

  it("goes on until it is interrupted, and then tells its statistics", async () => {
    const child = spawn(process.execPath, ["dist/bin/eps.js", "ping", "hd-2", "-i", "0.01"], {
      env: { ...process.env, EPS_SETTINGS: town.settings("hd-1") },
      stdio: ["ignore", "pipe", "inherit"],
    });
    let out = "";
    let interrupted = false;
    for await (const chunk of child.stdout) {
      out += String(chunk);
      if (!interrupted && /seq=3/.test(out)) interrupted = child.kill("SIGINT");
    }
    expect(out).toMatch(/hd-2: \d+ pings, \d+ answered, 0 lost\nmin/);
    expect(child.exitCode ?? (await once(child, "exit"))[0]).toBe(0);
  });
});

describe("eps peers", () => {
  it("tells who is connected and by which way", async () => {
    await run(["eps", "call", "hd-2._ping"]);
    const [hd1, beside] = await Promise.all([
      run(["eps", "peers", "--json"]),
      run(["eps", "peers", "--json"], { as: "public-proxy-eps-1" }),
    ]);
    expect(parsed(hd1)).toEqual(
      expect.arrayContaining([
        expect.objectContaining({
          operator: "hd-2",
          way: "dialled",
          proxy: "public-proxy-1.ga",
          calls: 0,
        }),
        expect.objectContaining({
          operator: "public-proxy-1.ga",
          way: "dialled",
          proxy: "",
          calls: 0,
        }),
        expect.objectContaining({ operator: "public-proxy-1.ga", way: "reverse_out" }),
      ]),
    );
    expect(parsed(beside)).toEqual(
      expect.arrayContaining([
        expect.objectContaining({
          operator: "hd-1",
          way: "reverse_in",
          since: expect.stringMatching(/^20/),
        }),
        expect.objectContaining({ operator: "hd-2", way: "reverse_in", calls: 0 }),
      ]),
    );
  });

  it("is nobody else's business", async () => {
    const gateway = { role: "hd-1", port: GATEWAY["hd-1"] };
    expect(await town.call(gateway, { method: "hd-2._peers" })).toMatchObject({
      error: { code: 403, message: expect.stringContaining("Permission denied") },
    });
  });
});

describe("eps sd", () => {
  it("prints entries in one line of JSON, as the original does", async () => {
    const [found, none] = await Promise.all([
      run(["eps", "sd", "get-entries", "--name", "hd-2"]),
      run(["eps", "sd", "get-entries", "--name", "hd-9"]),
    ]);
    expect(found.out).toMatch(/^\[\{"name":"hd-2",.*\}\]\n$/);
    expect(none).toMatchObject({ code: 1, out: "" });
  });

  it("prints the signed records, all or those behind one", async () => {
    const all = parsed(await run(["eps", "sd", "get-records"])) as { hash: string }[];
    expect(all.length).toBeGreaterThan(10);
    const after = `${all[2]?.hash.slice(0, 12)}`;
    const [behind, gone] = await Promise.all([
      run(["eps", "sd", "get-records", "--after", after]),
      run(["eps", "sd", "get-records", "--after", "0123456789"]),
    ]);
    expect(parsed(behind)).toEqual(all.slice(3));
    expect(gone).toMatchObject({ code: 1, out: "", err: expect.stringContaining("rolled back") });
  });

  it("shows one operator on a page", async () => {
    const [page, entry] = await Promise.all([
      run(["eps", "sd", "show", "hd-2"]),
      run(["eps", "sd", "show", "hd-2", "--json"]),
    ]);
    expect(page.out).toContain("reached  through public-proxy-1.ga");
    expect(page.out).toMatch(/_ping +by health-departments +now hd-1/);
    expect(parsed(entry)).toMatchObject({ name: "hd-2" });
  });

  it("tells what records would change, by its exit code too, and changes nothing", async () => {
    const same = await change("same.json", ["health-departments"]);
    const other = await change("other.json", ["health-departments", "labs"]);
    const before = await tip();
    const [none, some, json, failed] = await Promise.all([
      run(["eps", "sd", "diff", same]),
      run(["eps", "sd", "diff", other]),
      run(["eps", "sd", "diff", "--json", other]),
      run(["eps", "sd", "diff", "nowhere.json"]),
    ]);
    expect(none).toMatchObject({ code: 0, out: "" });
    expect(some).toMatchObject({ code: 1, out: "hd-2: groups\n  + labs\n" });
    expect(parsed(json)).toMatchObject([
      { operator: "hd-2", section: "groups", after: ["health-departments", "labs"] },
    ]);
    expect(failed).toMatchObject({ code: 2, out: "" });
    expect(await tip()).toEqual(before);
  });

  it("holds a batch against the directory's rules without sending it", async () => {
    const file = await change("dry.json", ["labs"]);
    const before = await tip();
    const dry = await run(["eps", "sd", "submit-records", "--dry-run", file]);
    expect(dry).toMatchObject({ code: 0 });
    expect(dry.out).toMatch(
      /^[0-9a-f]{64} {2}groups +hd-2\n1 records would be accepted; nothing was sent\n$/,
    );
    expect(await tip()).toEqual(before);
  });

  it("refuses in a dry run what the directory would refuse", async () => {
    // A certificate of the same operator that is not the one which the directory pins.
    const alt = join(town.folder, "alt.yml");
    const [certificate_file, key_file] = ["crt", "key"].map((suffix) =>
      join(town.certs, `hd-1-sign-alt.${suffix}`),
    );
    await writeFile(alt, JSON.stringify({ signing: { certificate_file, key_file } }));
    const file = await change("refused.json", ["labs"]);
    const argv = ["eps", "sd", "submit-records", "--dry-run", file];
    const ended = await run(argv, { settings: `${town.settings("hd-1")}:${alt}` });
    expect(ended).toMatchObject({ code: 1, out: "" });
    expect(ended.err).toMatch(/is not the one the directory pins for hd-1/);
  });
});

describeWith(["script"], "eps sd on a terminal", () => {
  it("prints tables", async () => {
    const command = `${process.execPath} dist/bin/eps.js sd get-records`;
    const env = { ...process.env, NO_COLOR: "1", EPS_SETTINGS: town.settings("hd-1") };
    const child = spawn("script", ["-qec", command, "/dev/null"], {
      env,
      stdio: ["ignore", "pipe", "inherit"],
    });
    const [head = "", first = ""] = (await text(child.stdout)).split("\r\n");
    expect(head.split(/ {2,}/)).toEqual(["record", "signed", "by", "section", "operator", "hash"]);
    expect(first).toMatch(/^1 +20\S+ +hd-1 +groups +hd-1 +[0-9a-f]{16}$/);
  });
});

describe("the checks", () => {
  type Found = { severity: string; area: string; what: string; fix?: string }[];

  it("find a running endpoint good, and name what is missing behind it", async () => {
    const ended = await run(["eps", "check", "--json"]);
    const found = parsed(ended) as Found;
    expect(ended.code).toBe(0);
    expect(found.filter(({ severity }) => severity === "problem")).toEqual([]);
    const good = found
      .filter(({ severity }) => severity === "ok")
      .map(({ what }) => what)
      .join("\n");
    expect(good).toMatch(/hd-1\.crt is good for hd-1 until/);
    expect(good).toMatch(/all signatures verify/);
    expect(good).toMatch(/our clock agrees/);
    expect(good).toMatch(/the certificate of .* is pinned/);
    expect(good).toMatch(/our gRPC server at .* answers/);
    expect(good).toMatch(/our JSON-RPC server at .* answers/);
    expect(good).toMatch(/public-proxy-1\.ga, our proxy, answers/);
    expect(found).toContainEqual({
      severity: "warning",
      area: "reachability",
      what: expect.stringMatching(/^our service at localhost:\d+ does not answer/),
      fix: expect.stringContaining("Start the service"),
    });
  });

  it("tell a person the same, and what to do", async () => {
    const { code, out } = await run(["eps", "check"], { as: "ls-1" });
    expect(code).toBe(0);
    expect(out).toMatch(/^ok {7}settings {6}EPS_SETTINGS can be used\n/);
    expect(out).toMatch(
      /note {5}reachability {2}our JSON-RPC server at .* does not run\n +→ Start it/,
    );
  });

  it("fail where there is a problem, also if the settings themselves are one", async () => {
    const bad = join(town.folder, "bad.yml");
    await writeFile(bad, "name: x\n");
    const ended = await run(["eps", "check", "--json"], { settings: bad });
    expect(ended.code).toBe(1);
    expect(parsed(ended)).toMatchObject([
      { severity: "problem", area: "settings", what: expect.stringContaining("directory") },
    ]);
  });

  it("find a running service directory and a running proxy good", async () => {
    const [sd, proxy] = await Promise.all([
      run(["sd", "check", "--json"], { as: "sd-1" }),
      run(["proxy", "check", "--json"], { as: "public-proxy-1" }),
    ]);
    for (const ended of [sd, proxy]) {
      expect(ended.code).toBe(0);
      expect(new Set((parsed(ended) as Found).map(({ severity }) => severity))).toEqual(
        new Set(["ok"]),
      );
    }
    expect(sd.out).toMatch(/can be read \(entries: \d\d\)/);
    expect(proxy.out).toContain("the endpoint of public-proxy-1.ga beside it answers");
  });

  it("find out that a private proxy has no endpoint", async () => {
    const ended = await run(["proxy", "check"], { as: "private-proxy-1" });
    expect(ended.code).toBe(1);
    expect(ended.out).toMatch(
      /problem {2}reachability {2}the endpoint of private-proxy-1\.ga .*does not answer/,
    );
  });
});

describe("every program", () => {
  it("exits with 2 on a command, a flag or an argument that there is not", async () => {
    const wrong = [
      ["eps", "pnig"],
      ["sd", "--nothing"],
      ["proxy", "completion", "tcsh"],
      ["eps", "sd"],
    ];
    const ended = await Promise.all(wrong.map((argv) => run(argv)));
    expect(ended.map(({ code }) => code)).toEqual([2, 2, 2, 2]);
    expect(ended[0]?.err).toContain("Did you mean ping?");
  });

  it("says its name and version, wherever it is asked", async () => {
    const asked = [
      ["eps", "--version"],
      ["sd", "run", "--version"],
      ["proxy", "run", "west", "--version"],
    ];
    const ended = await Promise.all(asked.map((argv) => run(argv)));
    const { version } = JSON.parse(await readFile("package.json", "utf8"));
    const told = ["eps", "sd", "proxy"].map((name) => ({
      code: 0,
      out: `${name} ${version}\n`,
      err: "",
    }));
    expect(ended).toEqual(told);
  });

  it("shows colours only where they are wanted", async () => {
    const shown = async (env: NodeJS.ProcessEnv) =>
      (await run(["sd", "check"], { as: "sd-1", env })).out.includes("\u001b[");
    const wanted = await Promise.all([
      shown({ NO_COLOR: undefined, FORCE_COLOR: undefined }),
      shown({ NO_COLOR: undefined, FORCE_COLOR: "1" }),
      shown({ NO_COLOR: "1", FORCE_COLOR: undefined }),
    ]);
    expect(wanted).toEqual([false, true, false]);
  });
});
