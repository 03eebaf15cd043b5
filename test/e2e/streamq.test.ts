import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { Dealer } from "zeromq";
import { freePorts } from "../../src/roles/dev/ports.ts";
import { type LogLine, Program } from "../../src/roles/dev/processes.ts";
import { findInMemory } from "../support/memory.ts";
import { until } from "../support/until.ts";
import { dialFreely } from "../support/wires.ts";
import { ZmqPeers } from "../support/zmq.ts";

const PATIENCE = { within_ms: 20_000 };
const { signal } = new AbortController();

let folder: string;
let peers: ZmqPeers;
const programs: Program[] = [];
let pools: Program;
let control = 0;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "eps-streamq-"));
  pools = await startPools();
});
beforeEach(() => {
  peers = new ZmqPeers();
});
afterEach(async () => {
  await peers[Symbol.asyncDispose]();
});
afterAll(async () => {
  await Promise.all(programs.map((program) => program.stop()));
  await rm(folder, { recursive: true, force: true });
});

async function start(name: string, argv: string[], env: NodeJS.ProcessEnv = {}): Promise<Program> {
  const how = { argv: ["proxy", "run", ...argv], env: { ...process.env, ...env } };
  const program = new Program(name, { ...how, logs: folder, keep: false });
  programs.push(program);
  await said(program, "ready", ({ msg }) => msg === "ready" || msg === "waiting for clients");
  return program;
}

async function said(program: Program, what: string, fits: (line: LogLine) => boolean) {
  return await program.said(fits, { what, ...PATIENCE }, signal);
}

/** Two pools, with CURVE and without, whose bytes all pass through the program's own memory. */
async function startPools(): Promise<Program> {
  const PROXY_SETTINGS = join(folder, "pools.yml");
  const binds = ["data", "command", "worker", "client"].map((key) => `${key}_bind_address`);
  const ports = binds.map((key) => `${key}: "localhost:0"`).join(", ");
  [control = 0] = await freePorts(1);
  const lines = [
    "pools:",
    `  - {name: curve, gate: curve, splice: stream, ${ports}}`,
    `  - {name: plain, gate: none, splice: stream, ${ports}}`,
    `pools_control: {bind_address: "localhost:${control}"}`,
  ];
  await writeFile(PROXY_SETTINGS, lines.join("\n"));
  return await start("pools", ["pool"], { PROXY_SETTINGS });
}

/** Tells the pool with CURVE what to do, and hears what there is in it. */
async function ask(method: string): Promise<{ demands?: number; matches?: number }> {
  const params = { pool: "curve" };
  const body = JSON.stringify({ jsonrpc: "2.0", id: "1", method, params });
  const headers = { "content-type": "application/json" };
  const url = `http://localhost:${control}/jsonrpc`;
  const answer = await (await fetch(url, { method: "POST", headers, body })).json();
  return (answer as { result: object }).result;
}

type Ports = Record<"worker" | "client", number>;

async function portsOf(pool: string): Promise<Ports> {
  return (await said(
    pools,
    "open",
    (line) => line.msg === "pool open" && line["pool"] === pool,
  )) as never;
}

/** Between a worker and the relay: passes everything on and keeps it. */
class Tap {
  readonly #server: Server;
  readonly #heard: Record<"there" | "back", Buffer[]> = { there: [], back: [] };

  private constructor(port: number) {
    this.#server = createServer(async (worker: Socket) => {
      const relay = await dialFreely(port);
      worker.on("error", () => {}).on("close", () => relay.destroy());
      relay.on("close", () => worker.destroy());
      worker.on("data", (chunk) => this.#heard.there.push(chunk)).pipe(relay);
      relay.on("data", (chunk) => this.#heard.back.push(chunk)).pipe(worker);
    });
  }

  static async open(port: number): Promise<Tap> {
    const tap = new Tap(port);
    tap.#server.listen(0, "127.0.0.1");
    await once(tap.#server, "listening");
    return tap;
  }

  get endpoint(): string {
    return `tcp://127.0.0.1:${(this.#server.address() as { port: number }).port}`;
  }

  /** How often it heard this, both ways together. */
  count(wanted: Buffer): number {
    return Object.values(this.#heard)
      .map((chunks) => Buffer.concat(chunks))
      .reduce(
        (sum, all) => sum + all.toString("latin1").split(wanted.toString("latin1")).length - 1,
        0,
      );
  }

  /** What the worker said last. */
  last(size: number): Buffer {
    return Buffer.concat(this.#heard.there.slice(-2)).subarray(-size);
  }

  close(): void {
    this.#server.close();
  }
}

/** Short and long ones, some in parts. */
function messagesWith(secret: Buffer): Buffer[][] {
  const few = [
    [Buffer.from("x")],
    [Buffer.alloc(3 * 1024 * 1024, secret)],
    [secret, Buffer.alloc(0), Buffer.alloc(100_000, secret)],
  ];
  const many = Array.from({ length: 500 }, (_, i) => [Buffer.from(`${i} `), secret]);
  return [...few, ...many];
}

async function echo(client: Dealer, messages: Buffer[][]): Promise<void> {
  const asking = (async () => {
    for (const message of messages) await client.send(message);
  })();
  for (const message of messages) {
    const [, ...answer] = await client.receive();
    expect(Buffer.concat(answer).equals(Buffer.concat(message))).toBe(true);
  }
  await asking;
}

describe("a relay of ZeroMQ peers", () => {
  it.skipIf(process.platform !== "linux")(
    "holds nothing of what they say with CURVE, in its memory or in what it passes on",
    async () => {
      const secrets = { curve: randomBytes(24), plain: randomBytes(24) };
      const tapped: Record<string, number> = {};
      const speak = async (pool: keyof typeof secrets): Promise<number[]> => {
        const ports = await portsOf(pool);
        const tap = await Tap.open(ports.worker);
        const plain = pool === "plain";
        peers.worker(pool, { plain }).connect(tap.endpoint);
        const client = peers.client(`tcp://127.0.0.1:${ports.client}`, { plain });
        await echo(client, messagesWith(secrets[pool]));
        const passed = tap.last(48);
        tapped[pool] = tap.count(secrets[pool]);
        tap.close();
        return findInMemory(pools.pid, [passed, secrets.curve, secrets.plain]);
      };
      const [ciphertext = 0, ...found] = await speak("curve");
      expect(ciphertext).toBeGreaterThan(0); // what was looked through is what they passed through
      expect([...found, tapped["curve"]]).toEqual([0, 0, 0]);
      const [, curve, plain] = await speak("plain");
      expect(curve).toBe(0);
      expect(tapped["plain"]).toBeGreaterThan(1_000);
      expect(plain).toBeGreaterThan(0);
    },
  );

  it("leaves pairs alone while a pool is suspended, and makes no new ones [streamq 130, 150]", async () => {
    await until(async () => (await ask("resumePool")).matches === 0, "nobody is paired");
    const ports = await portsOf("curve");
    const there = `tcp://127.0.0.1:${ports.client}`;
    const worker = peers.worker();
    for (let i = 0; i < 2; i += 1) worker.connect(`tcp://127.0.0.1:${ports.worker}`);
    const first = peers.client(there);
    await echo(first, [[Buffer.from("one")]]);
    expect(await ask("suspendPool")).toMatchObject({ suspended: true, matches: 1 });
    const second = peers.client(there);
    const answer = echo(second, [[Buffer.from("two")]]);
    await until(async () => (await ask("suspendPool")).demands === 1, "the second waits");
    await echo(first, [[Buffer.from("three")]]);
    expect(await ask("suspendPool")).toMatchObject({ offers: 1, demands: 1, matches: 1 });
    expect(await ask("resumePool")).toMatchObject({ offers: 0, demands: 0, matches: 2 });
    await answer;
  });

  it("brings all together again that were there when it was killed [streamq 230]", async () => {
    const ports = await freePorts(4);
    const [data, command, worker, client] = ports;
    const where = ["--host", "localhost", "--ports", ports.join()];
    const relay = await start("relay", ["pool", "--preset", "streamq", ...where]);
    const bound = peers.worker("bound");
    await bound.bind("tcp://127.0.0.1:*");
    const target = `${bound.lastEndpoint}`.slice("tcp://".length);
    const size = ["--min", "1", "--max", "1"];
    const agent = [
      "agent",
      "--relay",
      `localhost:${data},${command}`,
      "--forward",
      target,
      ...size,
    ];
    await start("agent", agent);
    peers.worker("dialled").connect(`tcp://127.0.0.1:${worker}`);
    const clients = [1, 2].map(() => peers.client(`tcp://127.0.0.1:${client}`));
    const names = async (): Promise<string[]> => {
      const answers = clients.map(async (each) => {
        await each.send("who are you?");
        return `${(await each.receive())[0]}`;
      });
      return (await Promise.all(answers)).sort();
    };
    expect(await names()).toEqual(["bound", "dialled"]);
    await relay.stop("SIGKILL");
    await start("relay", ["pool", "--preset", "streamq", ...where]);
    expect(await names()).toEqual(["bound", "dialled"]);
  });
});

describe("the gate before ZeroMQ workers, and what moves their bytes", () => {
  const PARTS = {
    zmtp: /./,
    kernel: /^(pump|pipes|splice|wire)\.ts$/,
    stream: /^(line|splice)\.ts$/,
  };
  const files = Object.entries(PARTS).flatMap(([part, which]) => {
    const folder = join("src/relay", part);
    const some = readdirSync(folder).filter((file) => which.test(file));
    return some.map((file) => join(folder, file));
  });

  it("import nothing that could decrypt what passes [streamq 110]", () => {
    const foreign = new Set<string>();
    const seen = new Set<string>();
    const walk = (file: string): void => {
      if (seen.has(file)) return;
      seen.add(file);
      for (const path of importsOf(readFileSync(file, "utf8"))) {
        if (path.startsWith(".")) walk(join(dirname(file), path));
        else foreign.add(path);
      }
    };
    for (const file of files) walk(file);
    expect(files.length).toBeGreaterThanOrEqual(8);
    expect(seen).toContain("src/relay/doors/zmtp.ts");
    // Sockets, clocks, and koffi for system calls.
    const known = ["koffi", "node:events", "node:net", "node:timers/promises"];
    expect([...foreign].sort()).toEqual(known);
  });
});

/** What is imported when a module runs; types are gone by then. */
function importsOf(text: string): string[] {
  const found = text.matchAll(
    /^(?:import|export) (?!type\b)(?:[^;"]*? from )?"([^"]+)"|\bimport\("([^"]+)"\)/gm,
  );
  return [...found].map(([, path, later]) => path ?? later ?? "");
}
