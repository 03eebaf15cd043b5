import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { Fault } from "../../core/fault.ts";
import { Scope } from "../../core/scope.ts";
import { freePorts } from "./ports.ts";
import { type LogLine, Program } from "./processes.ts";
import { heading, say, step } from "./steps.ts";

const WAITING = 10;
const CLIENTS = 50;
const SHOWN = 12;
const PATIENCE = { within_ms: 40_000 };

/** Shows a pool: a server that only dials out, by its agent, and fifty clients that curl plays at once. */
export async function demoPool(signal: AbortSignal): Promise<void> {
  await using scope = new Scope(signal);
  const folder = await mkdtemp(join(tmpdir(), "eps-pool-"));
  scope.defer(() => rm(folder, { recursive: true, force: true }));
  const [data = 0, command = 0, clients = 0] = await freePorts(3);
  const inside = await serveInside();
  scope.defer(() => inside.closeAllConnections());
  scope.defer(() => inside.close());
  const target = (inside.address() as { port: number }).port;
  const start = (name: string, argv: string[], env: NodeJS.ProcessEnv = {}): Program => {
    const how = { argv, env: { ...process.env, ...env }, logs: folder, keep: false };
    const program = new Program(name, how);
    scope.defer(() => program.stop());
    return program;
  };
  const PROXY_SETTINGS = join(folder, "pools.yml");
  await writeFile(
    PROXY_SETTINGS,
    `pools:
  - name: web
    data_bind_address: localhost:${data}
    command_bind_address: localhost:${command}
    client_bind_address: localhost:${clients}
`,
  );
  const relay = start("relay", ["proxy", "run", "pool"], { PROXY_SETTINGS });
  const said = (program: Program, what: string, fits: (line: LogLine) => boolean) =>
    program.said(fits, { what, ...PATIENCE }, scope.signal);
  await step("the relay is ready", () => said(relay, "ready", ({ msg }) => msg === "ready"));
  const where = ["--relay", `localhost:${data},${command}`, "--forward", `127.0.0.1:${target}`];
  const agent = start("agent", ["proxy", "run", "agent", ...where, "--min", `${WAITING}`]);
  await step(`the agent beside the server keeps ${WAITING} connections waiting`, () =>
    said(agent, "waiting", ({ msg }) => msg === "waiting for clients"),
  );
  const answers = await step(`curl asked the server ${CLIENTS} times at once`, () =>
    fetchAll(`http://127.0.0.1:${clients}/[1-${CLIENTS}]`, scope.signal),
  );
  await step("every connection is closed", () =>
    said(relay, "done with its clients", () => endedAt(relay).length === CLIENTS),
  );
  heading("What was paired with what, as the relay tells it");
  for (const line of endedAt(relay).slice(0, SHOWN)) say(pairing(line));
  say(`  … and ${CLIENTS - SHOWN} more; all ${answers} answers were those of the server inside`);
  say();
  await step("everything stopped", () => scope[Symbol.asyncDispose]());
}

async function serveInside(): Promise<Server> {
  const server = createServer(
    (request, reply) => void reply.end(`hello from inside, ${request.url}`),
  );
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return server;
}

/** Resolves with the number of answers; throws unless each is the right one. */
async function fetchAll(url: string, signal: AbortSignal): Promise<number> {
  const flags = ["--no-progress-meter", "--fail", "--max-time", "30"];
  const parallel = ["--parallel", "--parallel-immediate", "--parallel-max", `${CLIENTS}`];
  const curl = spawn("curl", [...flags, ...parallel, "--write-out", "\\n", url], { signal });
  const [out, problem, [code]] = await Promise.all([
    text(curl.stdout),
    text(curl.stderr),
    once(curl, "close"),
  ]).catch((cause) => {
    throw new Fault("unreachable", "curl does not start: is it installed?", { cause });
  });
  if (code !== 0) throw new Fault("failed", `curl ended with ${code}: ${problem.trim()}`);
  const answers = new Set(out.match(/hello from inside, \/\d+/g));
  if (answers.size === CLIENTS) return CLIENTS;
  throw new Fault("failed", `${answers.size} of ${CLIENTS} answers came`);
}

function endedAt(relay: Program): LogLine[] {
  return relay.lines().filter(({ msg }) => msg === "circuit ended");
}

function pairing(line: LogLine): string {
  const { caller, session, lasted_ms, bytes_from_caller, bytes_from_callee } = line;
  const carried = `${bytes_from_caller} bytes there, ${bytes_from_callee} back, ${lasted_ms} ms`;
  return `  client ${caller} ↔ connection ${String(session).padStart(2)} of the agent   ${carried}`;
}
