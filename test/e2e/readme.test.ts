import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { freePorts } from "../../src/roles/dev/ports.ts";
import { moveToFreePorts } from "../../src/roles/dev/town.ts";
import { cloneProject } from "../support/clone.ts";
import { describeWith } from "../support/tools.ts";
import { eventually } from "../support/town.ts";

const readme = readFileSync("README.md", "utf8");
const blocks = [...readme.matchAll(/^```(\w*)\n([\s\S]*?)^```$/gm)]
  .filter(([, language = ""]) => ["", "sh"].includes(language))
  .map(([, , text = ""]) => text.trim().split("\n"));
const [
  start = [],
  byHand = [],
  service = [],
  passthrough = [],
  passthroughByHand = [],
  pool = [],
  poolByHand = [],
  streamq = [],
  west = [],
  zeromq = [],
  inside = [],
  status = [],
  bench = [],
] = blocks;
/** Which of those that are run by hand go on until they are stopped. */
const servers = byHand.filter((line) => / run( public)?$/.test(line));

let clone: Awaited<ReturnType<typeof cloneProject>>;
let ports = new Map<string, number>();
const running: ChildProcess[] = [];

/** The documented ports may be in use here, so the clone's settings and the commands got others. */
const moved = (line: string): string => {
  return line.replace(/(?<=hd-1:|server\.local:|http:\/\/localhost:)(\d+)/g, (port) =>
    String(ports.get(port) ?? port),
  );
};

function environment(): NodeJS.ProcessEnv {
  // Not the programs that npx or npm put on our own PATH.
  const others = `${process.env["PATH"]}`.split(":").filter((each) => !/node_modules/.test(each));
  const PATH = [join(clone.folder, "prefix", "bin"), ...others].join(":");
  return { ...process.env, PATH };
}

function shell(line: string): string {
  const options = { cwd: clone.folder, env: environment(), encoding: "utf8" } as const;
  return execFileSync("bash", ["-c", moved(line)], {
    ...options,
    stdio: ["ignore", "pipe", "pipe"],
  });
}

/** `exec`, so that the process that we know is the server and not the shell in front of it. */
function serve(line: string, bind?: string): ChildProcess {
  const command = line.replace(/^(\S+=\S+ )?/, "$1exec ");
  const env = { ...environment(), ...(bind && { IS_BIND_ADDRESS: bind }) };
  const options = { cwd: clone.folder, env, stdio: "ignore" } as const;
  const server = spawn("bash", ["-c", moved(command)], options);
  running.push(server);
  return server;
}

describeWith(["bash", "curl", "git", "make"], "the README", () => {
  beforeAll(async () => {
    clone = await cloneProject();
  });
  afterAll(async () => {
    for (const server of running) {
      if (server.exitCode !== null) continue;
      server.kill("SIGTERM");
      await once(server, "exit");
    }
    await clone[Symbol.asyncDispose]();
  });

  it("has the commands that this test knows", () => {
    expect(start).toEqual(["make demo", "make test"]);
    expect(byHand).toHaveLength(8);
    expect(servers).toHaveLength(5);
    expect(service).toHaveLength(4);
    expect(passthrough).toEqual(["make demo-passthrough"]);
    expect(passthroughByHand).toHaveLength(5);
    expect(pool).toEqual(["make demo-pool"]);
    expect(poolByHand).toHaveLength(3);
    expect(streamq).toEqual(["make demo-streamq"]);
    expect(west).toEqual(["make demo-west"]);
    expect(zeromq).toEqual(["make demo-zeromq"]);
    expect(inside).toHaveLength(9);
    expect(status).toHaveLength(2);
    expect(bench).toEqual(["make bench"]); // too long to be run here; its guard is run by itself
    expect(blocks).toHaveLength(13);
  });

  it("shows a demo that works and leaves nothing behind", { timeout: 120_000 }, () => {
    const told = shell("make demo");
    expect(told).toContain("✓ hd-1 pinged hd-2 through the proxy");
    expect(told).toContain('"name": "hd-2"');
    expect(told).toMatch(/caller +hd-1\n +callee +hd-2\n +ending +done/);
    expect(existsSync(join(clone.folder, "settings/dev/data"))).toBe(false);
  });

  it("shows TLS passthrough", { timeout: 120_000 }, () => {
    const told = shell("make demo-passthrough");
    expect(told).toContain('"hello": "from inside"');
    expect(told).toMatch(/door +sni\n +caller +test.internal-server.local/);
  });

  it("shows a pool", { timeout: 120_000 }, () => {
    const told = shell("make demo-pool");
    expect(told.match(/client 127\.0\.0\.1:\d+ ↔ connection +\d+ of the agent/g)).toHaveLength(12);
    expect(told).toContain("all 50 answers were those of the server inside");
  });

  it("shows ZeroMQ peers who keep their secret", { timeout: 120_000 }, () => {
    const told = shell("make demo-streamq");
    expect(told.match(/client 127\.0\.0\.1:\d+ ↔ worker 127\.0\.0\.1:\d+/g)).toHaveLength(6);
    expect(told).toMatch(/curve .* the secret stood 0 times/);
    expect(told).toMatch(/plain .* the secret stood 200 times/);
  });

  it("shows a web server behind NATs", { timeout: 120_000 }, () => {
    const told = shell("make demo-west");
    expect(
      told.match(/hello from the server: \/\w+\?who=curl was asked for 127\.0\.0\.1/g),
    ).toHaveLength(4);
  });

  it("shows fifty ZeroMQ applications that are reached by two ports", { timeout: 120_000 }, () => {
    const told = shell("make demo-zeromq");
    expect(told).toContain("100 responders of 50 applications");
    expect(told).toContain("50 publishers");
    expect(told.match(/^ {2}50 to port \d+ of A$/gm)).toHaveLength(2);
    expect(told).not.toContain("none of the two");
  });

  it("installs the programs", { timeout: 120_000 }, () => {
    shell(`make install PREFIX=${join(clone.folder, "prefix")}`);
    for (const program of ["sd", "proxy", "eps"]) {
      expect(shell(`${program} version`)).toMatch(/^\d+\.\d+\.\d+\n$/);
    }
  });

  it("makes a ping arrive by hand, the servers started in any order", {
    timeout: 120_000,
  }, async () => {
    const [certs = "", ...rest] = byHand;
    const [setUp = "", curl = ""] = rest.slice(servers.length);
    expect(certs).toBe("make certs");
    ports = await moveToFreePorts(join(clone.folder, "settings/dev"));
    shell(certs);
    for (const server of [...servers].reverse()) serve(server);
    const accepted = await eventually(30_000, async () => shell(setUp));
    expect(accepted).toContain("records accepted");
    const answer = await eventually(2_000, async () => {
      const parsed = JSON.parse(shell(`${curl} --silent`));
      expect(parsed).toHaveProperty("result");
      return parsed;
    });
    expect(answer).toMatchObject({
      jsonrpc: "2.0",
      id: "1",
      result: { serverInfo: { name: "hd-2" }, params: { _client: { name: "hd-1" } } },
    });
  });

  it("has a service behind ls-1 that others can call", { timeout: 120_000 }, async () => {
    const [endpoint = "", locations = "", add = "", lookup = ""] = service;
    serve(endpoint);
    serve(locations, `127.0.0.1:${ports.get("6666")}`);
    const added = await eventually(30_000, async () => JSON.parse(shell(add)));
    expect(added).toEqual({ locations: 1 });
    expect(JSON.parse(shell(lookup))).toEqual({
      name: "town hall",
      address: "1 Main Street",
      added_by: "hd-1",
    });
    expect(() => shell(lookup.replace("town hall", "nowhere"))).toThrow(/nobody has added nowhere/);
    expect(() => shell(add.replace("1 Main Street", ""))).toThrow(/address must be a text/);
  });

  it("reaches a server inside by its name", { timeout: 120_000 }, async () => {
    const [endpoint = "", proxy = "", internal = "", announce = "", curl = ""] = passthroughByHand;
    serve(endpoint);
    serve(proxy);
    serve(internal, `127.0.0.1:${ports.get("7777")}`);
    await eventually(30_000, async () => expect(JSON.parse(shell(announce))).toBe("ok"));
    expect(JSON.parse(shell(`${curl} --silent --show-error`))).toMatchObject({
      hello: "from inside",
      path: "/jsonrpc",
      asked_by_name: expect.stringMatching(/^test\.internal-server\.local/),
    });
  });

  it("reaches the same server through a pool", { timeout: 120_000 }, async () => {
    const [relay = "", agent = "", curl = ""] = poolByHand;
    const [data, command, clients] = await freePorts(3);
    serve(`${relay} --host localhost --ports ${data},${command},${clients}`);
    const target = `127.0.0.1:${ports.get("7777")}`;
    serve(
      agent.replace("localhost", `localhost:${data},${command}`).replace("127.0.0.1:7777", target),
    );
    const there = `${curl.replace("8002", `${clients}`)} --silent --show-error`;
    const answer = await eventually(30_000, async () => JSON.parse(shell(there)));
    expect(answer).toMatchObject({ hello: "from inside", path: "/" });
  });

  it("lets you look inside", { timeout: 120_000 }, () => {
    const [help = "", submitHelp = "", entries = "", ...commands] = inside;
    expect(shell(help)).toContain("Examples:");
    expect(shell(submitHelp)).toContain("--reset");
    expect(JSON.parse(shell(entries))).toMatchObject([{ name: "hd-2" }]);
    const [check, ping, call, peers, show, diff] = commands.map(shell);
    expect(check).toMatch(/reachability +public-proxy-1\.ga, our proxy, answers/);
    expect(ping).toContain("hd-2: 3 pings, 3 answered, 0 lost");
    expect(JSON.parse(call ?? "")).toMatchObject({ params: { hello: "there" } });
    expect(peers).toMatch(/hd-2 +dialled through public-proxy-1\.ga/);
    expect(show).toMatch(/reached +through public-proxy-1\.ga/);
    expect(diff).toBe("");
  });

  it("lets you ask a program how it is", async () => {
    const [ready = "", metrics = ""] = status;
    expect(JSON.parse(shell(ready))).toMatchObject({ ready: true });
    expect(shell(metrics)).toContain("eps_broker_directory_age_seconds");
  });

  it("names only files that exist", () => {
    for (const [, target = ""] of readme.matchAll(/\]\(([^)#]+)\)/g)) {
      expect(existsSync(target), target).toBe(true);
    }
  });
});
