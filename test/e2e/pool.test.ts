import { execFile } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, it } from "vitest";
import { freePorts } from "../../src/roles/dev/ports.ts";
import { type LogLine, Program } from "../../src/roles/dev/processes.ts";
import { samples } from "../support/metrics.ts";
import { describeWith } from "../support/tools.ts";
import { eventually } from "../support/town.ts";

const exec = promisify(execFile);
const PATIENCE = { within_ms: 20_000 };
const TOKEN = "open-sesame-4711";

type Ports = Record<"data" | "command" | "client" | "control" | "status" | "web" | "agent", number>;

describeWith(["curl", "nc"], "a pool, as its operators run it", () => {
  const { signal } = new AbortController();
  let folder: string;
  let ports: Ports;
  let web: Server;
  let relay: Program;
  let agent: Program;
  const programs: Program[] = [];

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "eps-pool-"));
    const names = ["data", "command", "client", "control", "status", "web", "agent"] as const;
    const free = await freePorts(names.length);
    ports = Object.fromEntries(names.map((name, i) => [name, free[i]])) as Ports;
    await writeFile(join(folder, "tokens"), `${TOKEN}\nanother\n`);
    await writeFile(join(folder, "token"), `${TOKEN}\n`);
    await writeSettings(10);
    web = await serveWeb();
    relay = await startRelay();
    agent = await startAgent();
  });
  afterAll(async () => {
    await Promise.all(programs.map((program) => program.stop()));
    web?.closeAllConnections();
    web?.close();
    await rm(folder, { recursive: true, force: true });
  });

  async function writeSettings(queue_timeout: number): Promise<void> {
    await writeFile(
      join(folder, "pools.yml"),
      `metrics: {bind_address: "localhost:${ports.status}"}
pools_control: {bind_address: "localhost:${ports.control}"}
pools:
  - name: web
    data_bind_address: localhost:${ports.data}
    command_bind_address: localhost:${ports.command}
    client_bind_address: localhost:${ports.client}
    tokens_file: ${join(folder, "tokens")}
    queue_timeout: ${queue_timeout}
`,
    );
  }
  async function serveWeb(): Promise<Server> {
    const server = createServer((request, reply) => void reply.end(`this is ${request.url}`));
    server.listen(ports.web, "127.0.0.1");
    await once(server, "listening");
    return server;
  }
  function start(name: string, argv: string[], PROXY_SETTINGS = join(folder, "pools.yml")) {
    const env = { ...process.env, PROXY_SETTINGS };
    const program = new Program(name, { argv: ["proxy", ...argv], env, logs: folder, keep: false });
    programs.push(program);
    return program;
  }
  const toldBy = (program: Program): string =>
    program
      .lines()
      .map(({ msg }) => msg)
      .join("\n");
  const said = (program: Program, what: string, fits: (line: LogLine) => boolean) =>
    program.said(fits, { what, ...PATIENCE }, signal);
  const startRelay = async (): Promise<Program> => {
    const program = start("relay", ["run", "pool"]);
    await said(program, "ready", ({ msg }) => msg === "ready");
    return program;
  };
  const agentFlags = (...more: string[]): string[] => {
    const where = `localhost:${ports.data},${ports.command}`;
    const what = ["--forward", `127.0.0.1:${ports.web}`, "--token-file", join(folder, "token")];
    return ["run", "agent", "--relay", where, ...what, ...more];
  };
  const startAgent = async (): Promise<Program> => {
    const program = start(
      "agent",
      agentFlags("--size", "10", "--status", `localhost:${ports.agent}`),
    );
    await said(program, "waiting", ({ msg }) => msg === "waiting for clients");
    return program;
  };
  const fetched = async (path: string): Promise<string> => {
    const url = `http://127.0.0.1:${ports.client}/${path}`;
    return (await exec("curl", ["--silent", "--show-error", "--max-time", "10", url])).stdout;
  };
  const control = async (method: string, params: object = {}): Promise<Record<string, unknown>> => {
    const body = JSON.stringify({ jsonrpc: "2.0", id: "1", method, params });
    const headers = { "content-type": "application/json" };
    const url = `http://127.0.0.1:${ports.control}/jsonrpc`;
    return (await (await fetch(url, { method: "POST", headers, body })).json()) as never;
  };
  const count = async (): Promise<Record<string, unknown>> => {
    const { result } = await control("getPools");
    return (result as { pools: Array<Record<string, unknown>> }).pools[0] ?? {};
  };

  it("serves fifty clients at once over ten connections, each its own answer", async () => {
    const paths = Array.from({ length: 50 }, (_, i) => `${i}`);
    const answers = await Promise.all(paths.map(fetched));
    expect(answers).toEqual(paths.map((path) => `this is /${path}`));
    await eventually(5_000, async () => {
      const ended = relay.lines().filter(({ msg }) => msg === "circuit ended");
      expect(ended).toHaveLength(50);
    });
    await eventually(5_000, async () => expect(await count()).toMatchObject({ offers: 10 }));
  });

  it("carries what a plain client says, and its end", async () => {
    const request = "GET /nc HTTP/1.0\r\n\r\n";
    const nc = exec("nc", ["-N", "-w", "10", "127.0.0.1", `${ports.client}`]);
    nc.child.stdin?.end(request);
    expect((await nc).stdout).toMatch(/^HTTP\/1\.1 200 OK\r\n[\s\S]*this is \/nc$/);
  });

  it("shows itself in its status, its metrics and its records, and never a token", async () => {
    const status = `http://127.0.0.1:${ports.status}`;
    expect(await (await fetch(`${status}/readyz`)).json()).toMatchObject({ ready: true });
    await eventually(5_000, async () => expect(await count()).toMatchObject({ offers: 10 }));
    const now = samples(await (await fetch(`${status}/metrics`)).text());
    expect(now.get('eps_broker_pool{pool="web",what="offers"}')).toBe(10);
    expect(now.get('eps_broker_circuits_total{door="pool",ending="done"}')).toBeGreaterThan(50);
    const at = `http://127.0.0.1:${ports.agent}`;
    expect(await (await fetch(`${at}/readyz`)).json()).toMatchObject({ ready: true });
    const there = samples(await (await fetch(`${at}/metrics`)).text());
    expect(there.get('eps_broker_agent_connections{state="waiting"}')).toBe(10);
    expect(there.get('eps_broker_agent_connections_total{why="done"}')).toBeGreaterThan(50);
    const record = relay.lines().find(({ msg }) => msg === "circuit ended");
    expect(record).toMatchObject({ door: "pool", callee: "web", ending: "done" });
    for (const { log_file } of [relay, agent])
      expect(await readFile(log_file, "utf8")).not.toContain(TOKEN);
  });

  it("is suspended and resumed, and takes settings while it runs", async () => {
    expect(await control("suspendPool", { pool: "web" })).toMatchObject({
      result: { suspended: true },
    });
    const waiting = fetched("later");
    await eventually(5_000, async () => expect(await count()).toMatchObject({ demands: 1 }));
    await control("resumePool", { pool: "web" });
    expect(await waiting).toBe("this is /later");
    expect(await control("resumePool", { pool: "ssh" })).toMatchObject({ error: { code: 404 } });
    await writeSettings(11);
    process.kill(relay.pid, "SIGHUP");
    const taken = await said(relay, "renewed", ({ msg }) => msg === "settings read again");
    expect(taken["changed"]).toEqual(["pools: web: queue_timeout"]);
  });

  it("finds together again by itself, whoever of them was killed", async () => {
    await relay.stop("SIGKILL");
    await eventually(5_000, async () => {
      const troubles = agent.lines().filter(({ msg }) => `${msg}`.startsWith("not as it should"));
      expect(troubles.length).toBeGreaterThan(0);
    });
    relay = await startRelay();
    expect(await fetched("relay")).toBe("this is /relay"); // it waits in the queue until the agent is back
    await agent.stop("SIGKILL");
    await eventually(5_000, async () => expect(await count()).toMatchObject({ offers: 0 }));
    agent = await startAgent();
    expect(await fetched("agent")).toBe("this is /agent");
  });

  it("offers nothing while the server behind the agent is away", async () => {
    web.closeAllConnections();
    await new Promise((closed) => web.close(closed));
    await exec("nc", ["-w", "5", "127.0.0.1", `${ports.client}`]).catch(() => {}); // finds out
    await eventually(10_000, async () => expect(await count()).toMatchObject({ offers: 0 }));
    const waiting = fetched("again");
    await eventually(5_000, async () => expect(await count()).toMatchObject({ demands: 1 }));
    web = await serveWeb();
    expect(await waiting).toBe("this is /again");
  });

  it("lets in no agent with another token, and says so on both sides", async () => {
    await writeFile(join(folder, "token"), "wrong\n");
    const stranger = start("stranger", agentFlags());
    const told = await said(stranger, "refused", ({ reason }) =>
      `${reason}`.includes("closed before"),
    );
    expect(told["reason"]).toContain("does it know this service, and let this agent in?");
    const refused = await said(relay, "told", ({ why }) => why === "forbidden");
    expect(refused).toMatchObject({ door: "pool", source: "127.0.0.1" });
    expect(await stranger.stop()).toBe(0);
  });

  it("refuses flags that are wrong, and says which and why", async () => {
    const relay = ["--relay", "localhost"];
    const wrong: Array<{ flags: string[]; message: string }> = [
      { flags: relay, message: "say what clients get: either --forward" },
      { flags: [...relay, "--echo", "--forward", "localhost:22"], message: "or --echo" },
      { flags: [...relay, "--forward", "22"], message: "--forward 22: expected host:port" },
      { flags: ["--relay", "a b", "--echo"], message: "host, host:port or host:port,port" },
      { flags: ["--relay", "a:65535", "--echo"], message: "--relay a:65535: expected" },
      { flags: [...relay, "--echo", "--size", "5", "--max", "9"], message: "leave it out" },
      { flags: [...relay, "--echo", "--token-file", "/nowhere"], message: "ENOENT" },
      { flags: [...relay, "--echo", "--token", TOKEN], message: "unknown option '--token'" },
      { flags: [...relay, "--echo", "--key", "k"], message: "need --ca: whom to believe" },
    ];
    await Promise.all(
      wrong.map(async ({ flags, message }, index) => {
        const agent = start(`wrong-${index}`, ["run", "agent", ...flags]);
        expect(await agent.ended(), message).toBe(2);
        expect(toldBy(agent)).toContain(message);
      }),
    );
  });

  it("is checked: tokens, who may serve, and what answers", async () => {
    const checked = start("checked", ["check"]);
    expect(await checked.ended()).toBe(0);
    const told = toldBy(checked);
    expect(told).toContain("pools: web: 2 tokens let agents in");
    expect(told).not.toContain("whoever can dial");
    expect(told).not.toContain(TOKEN);
    for (const port of ["data", "command", "client"] as const)
      expect(told).toContain(`${port}_bind_address (localhost:${ports[port]}) answers`);

    const settings = join(folder, "open.yml");
    const empty = join(folder, "empty");
    await writeFile(empty, "\n");
    const at = (key: string, port: number): string => `${key}_bind_address: localhost:${port}`;
    const places = [at("data", 1), at("command", 2), at("client", 3)].join();
    const pools = `{name: a}, {name: b, tokens_file: "${empty}", ${places}}`;
    await writeFile(settings, `pools: [${pools}]\n`);
    const open = start("open", ["check"], settings);
    expect(await open.ended()).toBe(1);
    expect(toldBy(open)).toContain("pools: a: whoever can dial its data port may serve it");
    expect(toldBy(open)).toContain(`pools: b: tokens_file ${empty} holds no token`);
  });

  it("explains its commands, each with examples", async () => {
    const helps = [start("help-pool", ["run", "pool", "--help"])];
    helps.push(start("help-agent", ["run", "agent", "--help"]));
    expect(await Promise.all(helps.map((help) => help.ended()))).toEqual([0, 0]);
    expect(toldBy(helps[0] as Program)).toContain("proxy run pool --preset relayserver");
    expect(toldBy(helps[1] as Program)).toMatch(/--token-file <file>[\s\S]*--forward 127.0.0.1:22/);
  });

  it("says which of its settings is wrong", async () => {
    const settings = join(folder, "wrong.yml");
    await writeFile(settings, "pools: [{name: a, gate: plain}, {name: a, queue_max: -1}]\n");
    const program = start("wrong-settings", ["run", "pool"], settings);
    expect(await program.ended()).toBe(2);
    const told = toldBy(program);
    expect(told).toContain(settings);
    expect(told).toMatch(/pools\.0\.gate.*none.*curve/);
    expect(told).toMatch(/pools\.1\.queue_max/);
  });

  it("ends with exit code 0 when it is asked to", async () => {
    expect(await relay.stop()).toBe(0);
    expect(await agent.stop()).toBe(0);
  });
});
