import { type Command, InvalidArgumentError, Option } from "commander";
import { Fault } from "../../core/fault.ts";
import { loadFile } from "../../core/settings/load.ts";
import { WestSettings } from "../../relay/west/settings.ts";
import type { AgentFlags } from "../../roles/proxy/agent.ts";
import { checkProxies } from "../../roles/proxy/check.ts";
import { runSections, SECTIONS, type Section } from "../../roles/proxy/sections.ts";
import {
  PRESET_NAMES,
  ProxySettings,
  presetPool,
  presetZeromq,
} from "../../roles/proxy/settings.ts";
import type { LinkFlags } from "../../roles/proxy/zeromq-link.ts";
import { addCheck, program, type RoleDeps, serve, serveAsTold, show } from "../program.ts";

const source = { schema: ProxySettings, variable: "PROXY_SETTINGS" };

export function proxyProgram(): Command {
  const proxy = program(
    "proxy",
    "The broker: brings together two endpoints that cannot reach each other, and never sees inside",
    [
      "PROXY_SETTINGS=settings/dev/roles/public-proxy-1 proxy run public",
      "PROXY_SETTINGS=settings/dev/roles/private-proxy-1 proxy run private",
      "PROXY_SETTINGS=settings/dev/roles/public-proxy-1 proxy check",
    ],
  );
  const run = proxy.command("run").description("run a proxy until SIGINT or SIGTERM");
  show(run, ["proxy run public", "proxy run private", "proxy run pool --preset relayserver"]);
  const publicly = run
    .command("public")
    .description("the proxy that everybody can dial")
    .action((_, command) => serveSection("public", command));
  show(publicly, ["PROXY_SETTINGS=settings/dev/roles/public-proxy-1 proxy run public"]);
  const privately = run
    .command("private")
    .description(
      "the proxy inside an organisation, which announces domains and fetches what comes for them",
    )
    .action((_, command) => serveSection("private", command));
  show(privately, ["PROXY_SETTINGS=settings/dev/roles/private-proxy-1 proxy run private"]);
  const everything = run
    .command("all")
    .description(
      "everything that the settings have a section for, in one process, where doors may share a port",
    )
    .action((_, command) => serve(command, source, serveAll));
  show(everything, ["PROXY_SETTINGS=site.yml proxy run all"]);
  addPool(run);
  addAgent(run);
  addWest(run);
  addZeromq(run);
  addCheck(proxy, source, { looked: "settings, certificates and the store", check: checkProxies });
  return proxy;
}

async function serveAll(settings: ProxySettings, deps: RoleDeps, signal: AbortSignal) {
  if (SECTIONS.some((section) => settings[section]))
    return await runSections(settings, deps, signal);
  throw new Fault("settings", `the settings have none of the sections ${SECTIONS.join(", ")}`);
}

/** Runs what one section says; `otherwise` is what may be done without it. */
async function serveSection(section: Section, command: Command, otherwise = ""): Promise<void> {
  await serve(command, source, async (settings, deps, signal) => {
    const { metrics, pools_control, [section]: own } = settings;
    if (own) return await runSections({ metrics, pools_control, [section]: own }, deps, signal);
    throw new Fault("settings", `the settings have no section "${section}"${otherwise}`);
  });
}

type PoolFlags = {
  preset?: (typeof PRESET_NAMES)[number];
  host?: string;
  ports?: number[];
};

function addPool(run: Command): void {
  const pool = run
    .command("pool")
    .description("a relay at which servers keep connections waiting, and each client is given one")
    .addOption(
      new Option(
        "--preset <name>",
        "no settings, but the ports and the ways of RelayServer (agents at 8000, clients at 8002) or of StreamQ-Proxy (ZeroMQ workers at 9998, clients at 9999, agents at 9996)",
      ).choices(PRESET_NAMES),
    )
    .option("--host <address>", "with --preset: where to listen (default: every interface)")
    .option("--ports <list>", "with --preset: other ports, such as 8000,8001,8002", ports)
    .action(async ({ preset, ...where }: PoolFlags, command) => {
      if (!preset) return await serveSection("pools", command, "; try --preset relayserver");
      await serveAsTold(command, (deps, signal) =>
        runSections({ pools: [presetPool(preset, where)] }, deps, signal),
      );
    });
  show(pool, [
    "proxy run pool --preset relayserver",
    "proxy run pool --preset relayserver --host localhost --ports 7000,7001,7002",
    "proxy run pool --preset streamq",
    "PROXY_SETTINGS=pools.yml proxy run pool",
    "proxy run agent --relay relay.example.org --forward 127.0.0.1:22   # beside the server",
  ]);
}

function addAgent(run: Command): void {
  const agent = run
    .command("agent")
    .description("keep connections waiting at a pool, and bring its clients to a server near here")
    .requiredOption(
      "--relay <host[:port[,port]]>",
      "where connections wait (8000) and announcements are made (one above)",
    )
    .option("--forward <host:port>", "the server that clients get")
    .option("--echo", "clients get back what they say", false)
    .option("--service <name>", "the pool, where the relay should make sure of it")
    .option("--size <number>", "as many connections always, in use or not", connections)
    .option("--min <number>", "without --size: this many at least (default: 10)", connections)
    .option("--spare <number>", "this many more than are in use (default: 10)", connectionsOrNone)
    .option("--max <number>", "this many at most (default: 1000)", connections)
    .option("--token-file <file>", `what lets this agent in; or the variable ${TOKEN_VARIABLE}`)
    .option("--ca <file>", "dial by TLS, and believe this authority")
    .option("--cert <file>", "with --ca: our certificate")
    .option("--key <file>", "with --ca: its key")
    .option("--server-name <name>", "with --ca: what the relay must prove to be, if not its host")
    .option("--status <host:port>", "tell there by plain HTTP how this is: /readyz, /metrics")
    .action(async (flags: AgentFlags, command) => {
      const { runAgent } = await import("../../roles/proxy/agent.ts");
      const token = process.env[TOKEN_VARIABLE];
      await serveAsTold(command, (deps, signal) => runAgent(flags, { ...deps, token }, signal));
    });
  show(agent, [
    "proxy run agent --relay relay.example.org --forward 127.0.0.1:22",
    "proxy run agent --relay relay.example.org:8000 --forward localhost:8080 --min 2 --spare 2 --max 50",
    `${TOKEN_VARIABLE}="$(cat token)" proxy run agent --relay localhost --echo`,
    "proxy run agent --relay localhost --echo --ca root.crt --cert agent.crt --key agent.key",
  ]);
}

type WestFlags = {
  config?: string;
  d: number;
  debug: number;
  output: string;
};

/** The flags are those of the original (seed-systems 1.2); two of them mean nothing there either. */
function addWest(run: Command): void {
  const west = run
    .command("west")
    .description(
      "publish web servers of one site at another, through a WebSocket that either dials",
    )
    .option("-c, --config <file>", "west's own configuration, JSON, instead of PROXY_SETTINGS")
    .option("-d", "log more: each request and message", (_: string, count: number) => count + 1, 0)
    .option("--debug <number>", "the same as so many -d", Number, 0)
    .option("-O, --output <file>", "where the log goes; - is standard error", "-")
    .addOption(new Option("--input <file>", "accepted, as by the original").hideHelp())
    .addOption(new Option("-v, --verbose", "accepted, as by the original").hideHelp())
    .action(async ({ config, d, debug, output }: WestFlags, command) => {
      if (config === undefined) return await serveSection("west", command, "; try -c config.json");
      const level = d + debug > 0 ? ({ level: "debug" } as const) : {};
      const file = output === "-" ? {} : { file: output };
      await serveAsTold(
        command,
        async (deps, signal) => {
          const { settings, warnings } = await loadFile(WestSettings, config, "-c");
          for (const warning of warnings) deps.log.warn(warning);
          await runSections({ west: settings }, deps, signal);
        },
        { ...level, ...file },
      );
    });
  show(west, [
    "proxy run west -c west.json",
    "proxy run west -c west.json -d -O west.log",
    "PROXY_SETTINGS=west.yml proxy run west",
    "wget -q -O - http://127.0.0.1:9701   # its control page, if west.cp is 127.0.0.1:9701",
  ]);
}

type ZeromqFlags = Partial<Omit<LinkFlags, "ports">> & { ports?: number[] };

function addZeromq(run: Command): void {
  const zeromq = run
    .command("zeromq")
    .description(
      "many ZeroMQ applications of this machine, reached by two ports as with the proxies of CAMEO",
    )
    .option(
      "--ports <list>",
      "no settings, but three ports: responders, publishers, and where publishers of this machine come in",
      ports,
    )
    .option("--host <address>", "with --ports: where the first two listen (default: everywhere)")
    .option(
      "--through <host:port>",
      "with --ports: not the proxies, but the way to some elsewhere, by TLS; their first two ports are then at localhost",
    )
    .option("--ca <file>", "with --through: believe this authority")
    .option("--cert <file>", "with --through: our certificate")
    .option("--key <file>", "with --through: its key")
    .option("--server-name <name>", "with --through: what they must prove to be, if not the host")
    .action(async ({ ports: list, host, through, ca, ...tls }: ZeromqFlags, command) => {
      if (through) {
        if (!ca || !list)
          throw new Fault("settings", "--through needs --ports, as they are there, and --ca");
        const { runZeromqLink } = await import("../../roles/proxy/zeromq-link.ts");
        const flags = { through, ca, ports: list, ...(host !== undefined && { host }), ...tls };
        return await serveAsTold(command, (deps, signal) => runZeromqLink(flags, deps, signal));
      }
      if (!list) return await serveSection("zeromq", command, "; try --ports 10000,10001,10002");
      await serveAsTold(command, (deps, signal) =>
        runSections({ zeromq: presetZeromq(list, host) }, deps, signal),
      );
    });
  show(zeromq, [
    "proxy run zeromq --ports 10000,10001,10002",
    "PROXY_SETTINGS=zeromq.yml proxy run zeromq",
    "proxy run zeromq --ports 10000,10001 --through site.example.org:10443 --ca root.crt   # elsewhere",
  ]);
}

const TOKEN_VARIABLE = "PROXY_TOKEN";
const CONNECTIONS_MAX = 10_000;

function connectionsOrNone(text: string): number {
  return text === "0" ? 0 : connections(text);
}

function connections(text: string): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && value > 0 && value <= CONNECTIONS_MAX) return value;
  throw new InvalidArgumentError(`expected a whole number from 1 to ${CONNECTIONS_MAX}`);
}

function ports(text: string): number[] {
  const numbers = text.split(",").map(Number);
  if (/^\d{1,5}(,\d{1,5})*$/.test(text) && numbers.every((each) => each < 65_536)) return numbers;
  throw new InvalidArgumentError("expected port numbers with commas between them");
}
