import { execFile } from "node:child_process";
import { once } from "node:events";
import { cp, mkdir, mkdtemp, readdir, rm } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { promisify } from "node:util";
import { Fault } from "../../core/fault.ts";
import { Scope } from "../../core/scope.ts";
import { type LogLine, Program } from "./processes.ts";
import { heading, say, step } from "./steps.ts";
import { moveToFreePorts } from "./town.ts";

const PATIENCE_MS = 40_000;

/** The four ways to lie between NATs (seed-systems 1.7), with the ports that the configurations name. */
export const CASES = [
  {
    folder: "case-1",
    title: "the client is behind a NAT, the server is not",
    ask: { port: 9911, path: "/px" },
    server: 9921,
    route: ["l", "g"],
  },
  {
    folder: "case-2",
    title: "the server is behind a NAT, the client is not",
    ask: { port: 9931, path: "/pa" },
    server: 9941,
    route: ["g", "l"],
  },
  {
    folder: "case-3",
    title: "both are, each behind its own",
    ask: { port: 9951, path: "/bx" },
    server: 9971,
    route: ["l", "g", "l2"],
  },
  {
    folder: "case-4",
    title: "the server is behind two in a row",
    ask: { port: 9981, path: "/baz" },
    server: 9983,
    route: ["g", "l", "l2"],
  },
] as const;

type Case = (typeof CASES)[number];

/** The sites of one case as processes, from a copy of their configurations with ports that are free. */
export class Sites implements AsyncDisposable {
  /** Where the copy and the logs are. */
  readonly folder: string;
  readonly #ports: ReadonlyMap<string, number>;
  readonly #programs = new Map<string, Program>();

  private constructor(folder: string, ports: ReadonlyMap<string, number>) {
    this.folder = folder;
    this.#ports = ports;
  }

  static async found(configurations: string): Promise<Sites> {
    const folder = await mkdtemp(join(tmpdir(), "eps-west-"));
    await cp(configurations, folder, { recursive: true });
    await mkdir(join(folder, "logs"));
    return new Sites(folder, await moveToFreePorts(folder));
  }

  /** The port that stands here for one of the configurations. */
  port(documented: number): number {
    const port = this.#ports.get(String(documented));
    if (!port) throw new Fault("malformed", `no configuration mentions port ${documented}`);
    return port;
  }

  program(site: string): Program {
    const program = this.#programs.get(site);
    if (!program) throw new Fault("malformed", `${site} was never started`);
    return program;
  }

  /** Starts the site whose configuration is `<site>.json`, and resolves once it is ready. */
  async start(site: string, signal: AbortSignal): Promise<Program> {
    const argv = ["proxy", "run", "west", "-c", join(this.folder, `${site}.json`)];
    const logs = join(this.folder, "logs");
    const program = new Program(site, { argv, env: process.env, logs, keep: false });
    this.#programs.set(site, program);
    await program.said(
      ({ msg }) => msg === "ready",
      { what: "ready", within_ms: PATIENCE_MS },
      signal,
    );
    return program;
  }

  /** Starts all of them, and resolves once each has the tunnels that it dials. */
  async startAll(signal: AbortSignal): Promise<void> {
    const files = (await readdir(this.folder)).filter((file) => file.endsWith(".json"));
    const started = files.map((file) => this.start(basename(file, ".json"), signal));
    for (const program of await Promise.all(started)) {
      const dials = program.lines().find(({ msg }) => msg === "ready")?.["dials"] as string[];
      for (const url of dials)
        await said(program, "tunnel open", ({ peer }) => peer === url, signal);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#programs.values()].map((program) => program.stop()));
    await rm(this.folder, { recursive: true, force: true });
  }
}

/** Runs the four cases, asks by curl, and shows which way each request went. */
export async function demoWest(configurations: string, signal: AbortSignal): Promise<void> {
  for (const each of CASES) await show(each, join(configurations, each.folder), signal);
}

async function show(
  { title, folder, ask, server, route }: Case,
  configurations: string,
  signal: AbortSignal,
): Promise<void> {
  heading(`${folder.replace("-", " ")}: ${title}`);
  await using scope = new Scope(signal);
  const sites = scope.use(await Sites.found(configurations));
  const origin = createServer(({ url, headers }, reply) => {
    reply.end(`hello from the server: ${url} was asked for ${headers["x-forwarded-for"]}\n`);
  });
  origin.listen(sites.port(server), "127.0.0.1");
  await once(origin, "listening");
  scope.defer(() => origin.close());
  await step("the sites are ready, and their tunnels open", () => sites.startAll(signal));
  const url = `http://127.0.0.1:${sites.port(ask.port)}${ask.path}?who=curl`;
  const { stdout } = await step(`curl ${url}`, () =>
    promisify(execFile)("curl", ["--silent", "--show-error", "--fail", url], { signal }),
  );
  say(`  ${stdout.trim()}`);
  const [first = ""] = route;
  const entry = await said(sites.program(first), "exchange ended", isEntry, signal);
  for (const site of route) {
    const ofOurs = ({ request }: LogLine): boolean => request === entry["request"];
    await said(sites.program(site), "exchange ended", ofOurs, signal);
    const lines = sites.program(site).lines().filter(ofOurs).reverse();
    for (const line of lines.filter(({ msg }) => msg === "exchange ended")) {
      const through = line["side"] === "listener" ? `into the tunnel to ${line["peer"]}` : "";
      const to = line["side"] === "fetcher" ? `out to http://${line["target"]}` : "";
      say(`  ${site.padEnd(3)} ${line["method"]} ${line["path"]} ${through}${to}`);
    }
  }
  await step("everything stopped", () => scope[Symbol.asyncDispose]());
}

const isEntry = ({ side }: LogLine): boolean => side === "listener";

async function said(
  program: Program,
  what: string,
  fits: (line: LogLine) => boolean,
  signal: AbortSignal,
): Promise<LogLine> {
  return await program.said(
    (line) => line.msg === what && fits(line),
    { what, within_ms: PATIENCE_MS },
    signal,
  );
}
