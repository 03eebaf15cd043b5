import { readFile } from "node:fs/promises";
import { aborted } from "../../core/deadline.ts";
import { Fault } from "../../core/fault.ts";
import type { Log } from "../../core/log.ts";
import type { Metrics } from "../../core/metrics.ts";
import { Scope } from "../../core/scope.ts";
import { readTls } from "../../net/tls.ts";
import { poolAgent } from "../../relay/agent/agent.ts";
import { echo, forward, type Handler } from "../../relay/agent/targets.ts";
import { Readiness } from "../../rpc/readiness.ts";
import { openStatusServer } from "../../rpc/status-server.ts";
import { type Endpoint, parseEndpoint } from "../../wire/endpoint.ts";
import { agentEvents, watchAgent } from "./agent-events.ts";

const PORTS = { data: 8000, command: 8001 };
const DRAIN_MS = 5_000;

/** What the flags of `proxy run agent` say. */
export type AgentFlags = {
  /** `host`, `host:port`, or `host:port,port` where announcements are not made one port above. */
  relay: string;
  /** One of these two: `host:port` of the server behind this agent, or nothing but an echo. */
  forward?: string;
  echo: boolean;
  service?: string;
  /** As many connections always, or how many at least and at most, and to spare. */
  size?: number;
  min?: number;
  max?: number;
  spare?: number;
  tokenFile?: string;
  ca?: string;
  cert?: string;
  key?: string;
  serverName?: string;
  /** Where it tells how it is, if anywhere. */
  status?: string;
};

/** Keeps connections waiting at a relay and serves whoever is given them, until the signal aborts. */
export async function runAgent(
  flags: AgentFlags,
  { log, metrics, token }: { log: Log; metrics: Metrics; token?: string | undefined },
  signal: AbortSignal,
): Promise<void> {
  await using scope = new Scope(signal);
  const readiness = new Readiness(scope.signal);
  if (flags.status) {
    const status = { bind_address: flags.status };
    scope.use(await openStatusServer(status, { metrics, readiness }));
  }
  const { relay, commands } = endpointsOf(flags.relay);
  const { service } = flags;
  const size = sizeOf(flags);
  const shown = flags.tokenFile ? await readToken(flags.tokenFile) : token;
  const agent = scope.use(
    poolAgent({
      relay,
      commands,
      ...(service && { service }),
      ...(shown && { token: shown }),
      tls: await tlsOf(flags, relay),
      size,
      handler: handlerOf(flags),
      drain_ms: DRAIN_MS,
      events: agentEvents(relay, { log, metrics }),
    }),
  );
  watchAgent(metrics, agent);
  readiness.add("relay", () =>
    agent.count.waiting + agent.count.used > 0 ? undefined : `no connection waits at ${relay}`,
  );
  readiness.opened();
  log.info({ relay, commands, service, to: flags.forward ?? "echo", size }, "started");
  await aborted(scope.signal);
  log.info({ ...agent.count }, "stopping");
}

function sizeOf({
  size,
  ...growing
}: AgentFlags): number | { min?: number; max?: number; spare?: number } {
  const { min, max, spare } = growing;
  const grows = {
    ...(min !== undefined && { min }),
    ...(max !== undefined && { max }),
    ...(spare !== undefined && { spare }),
  };
  if (size === undefined) return grows;
  if (Object.keys(grows).length === 0) return size;
  throw new Fault(
    "settings",
    "--size is as many always; leave it out, or --min, --max and --spare",
  );
}

/** The ports are the ancestor's unless it is said which. */
function endpointsOf(text: string): { relay: string; commands: string } {
  const [, host, data, command] =
    /^(\[[^\]]+\]|[^:,\s]+)(?::(\d{1,5}))?(?:,(\d{1,5}))?$/.exec(text) ?? [];
  const port = data ? Number(data) : PORTS.data;
  const above = data ? port + 1 : PORTS.command;
  const [relay, commands] = [port, command ?? above].map((each) => `${host}:${each}`);
  const expected = "host, host:port or host:port,port";
  for (const each of [relay, commands]) endpointOf(`--relay ${text}`, host && each, expected);
  return { relay, commands } as { relay: string; commands: string };
}

function endpointOf(flag: string, text = "", expected = "host:port"): Endpoint {
  try {
    return parseEndpoint(text);
  } catch {
    throw new Fault("settings", `${flag}: expected ${expected}, and a port is at most 65535`);
  }
}

function handlerOf({ forward: target, echo: echoes }: AgentFlags): Handler {
  if ((target === undefined) !== echoes) {
    throw new Fault("settings", "say what clients get: either --forward host:port, or --echo");
  }
  if (target === undefined) return echo();
  const { host, port } = endpointOf(`--forward ${target}`, target);
  return forward(host || "localhost", port);
}

async function tlsOf({ ca, cert, key, serverName }: AgentFlags, relay: string) {
  if (!ca) {
    if (!cert && !key && !serverName) return undefined;
    throw new Fault("settings", "--cert, --key and --server-name need --ca: whom to believe");
  }
  const files = { ca_certificate_files: [ca], certificate_file: cert, key_file: key };
  const rest = { verify_client: true, request_client_cert: false, insecure_skip_verify: false };
  const material = await readTls({ ...files, ...rest });
  return { material, name: serverName ?? parseEndpoint(relay).host, skip_verify: false };
}

async function readToken(file: string): Promise<string> {
  const text = await readFile(file, "utf8").catch((cause) => {
    throw new Fault("settings", `cannot read --token-file ${file}`, { cause });
  });
  return text.trim();
}
