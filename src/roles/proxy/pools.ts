import { readFile } from "node:fs/promises";
import { aborted } from "../../core/deadline.ts";
import { Fault } from "../../core/fault.ts";
import type { Log } from "../../core/log.ts";
import type { Metrics } from "../../core/metrics.ts";
import { Scope } from "../../core/scope.ts";
import { openTls } from "../../net/live-tls.ts";
import { Circuits } from "../../relay/circuits.ts";
import { RelayEvents } from "../../relay/events.ts";
import { openEngine } from "../../relay/open-engine.ts";
import { openRelay } from "../../relay/relayserver/relay.ts";
import { Readiness } from "../../rpc/readiness.ts";
import { openStatusServer } from "../../rpc/status-server.ts";
import { circuitLimits, door, poolTerms } from "./limits.ts";
import type { PoolSettings, ProxySettings } from "./settings.ts";

/** Relays for servers that can only dial out: they keep connections waiting, and clients are given them. */
export async function runPools(
  pools: readonly PoolSettings[],
  { log, metrics, status }: { log: Log; metrics: Metrics; status?: ProxySettings["metrics"] },
  signal: AbortSignal,
): Promise<void> {
  await using scope = new Scope(signal);
  const events = new RelayEvents({ log, metrics });
  const readiness = new Readiness(scope.signal);
  if (status) scope.use(await openStatusServer(status, { metrics, readiness }));
  const open: Awaited<ReturnType<typeof openPool>>[] = [];
  events.watchStrangers("pool", () => open.reduce((sum, { strangers }) => sum + strangers, 0));
  for (const settings of pools) open.push(await openPool(settings, { events, log, scope }));
  readiness.opened();
  log.info({ pools: pools.map(({ name }) => name) }, "ready");
  await aborted(scope.signal);
  log.info({ circuits: open.reduce((sum, { count }) => sum + count.matches, 0) }, "stopping");
}

/** One pool with all that belongs to it, which the scope owns. */
async function openPool(
  settings: PoolSettings,
  { events, log, scope }: { events: RelayEvents; log: Log; scope: Scope },
) {
  const { name, tls } = settings;
  const tokens = await readTokens(settings);
  // A session of TLS lives in this program, so that no other could move its bytes.
  const engine = scope.use(await openEngine(tls ? "stream" : settings.splice, { log }));
  const circuits = scope.use(new Circuits(circuitLimits(settings), { engine, events }));
  const files = tls && scope.use(await openTls(tls, { log }));
  const at = (key: "data" | "command" | "client") => {
    const setting = `${key}_bind_address` as const;
    return door(settings, { bind: settings[setting], setting: `pools: ${name}: ${setting}` });
  };
  const terms = poolTerms(settings);
  const relay = await openRelay(
    {
      terms: { pool: name, tokens },
      ports: { data: at("data"), command: at("command"), client: at("client") },
      tls: tls && files && { settings: tls, files },
      pools: {
        pool: () => terms,
        get offers_max() {
          return terms.offers_max;
        },
        get queue_max() {
          return terms.queue_max;
        },
      },
      listeners_max: settings.limits.listeners_max,
    },
    { engine, circuits, events },
  );
  scope.use(relay);
  events.watchPool(name, () => relay.count);
  log.info({ pool: name, ...relay.ports, splice: engine.name }, "pool open");
  if (isOpen(settings)) {
    const message = "whoever can dial the data port may serve this pool: set tokens, or tls";
    log.warn({ pool: name }, message);
  }
  return relay;
}

/** May anybody serve it? */
export function isOpen({ tokens, tokens_file, tls }: PoolSettings): boolean {
  return tokens.length === 0 && !tokens_file && !tls?.verify_client;
}

/** The tokens of the settings and of their file, in which they stand one a line. */
export async function readTokens({ name, tokens, tokens_file }: PoolSettings): Promise<string[]> {
  if (!tokens_file) return tokens;
  const text = await readFile(tokens_file, "utf8").catch((cause) => {
    const { code } = cause as NodeJS.ErrnoException;
    throw new Fault("settings", `pools: ${name}: cannot read tokens_file ${tokens_file}: ${code}`);
  });
  const lines = text.split("\n").map((line) => line.trim());
  const read = lines.filter((line) => line !== "");
  if (read.length + tokens.length === 0) {
    throw new Fault(
      "settings",
      `pools: ${name}: ${tokens_file} holds no token, so nobody may serve`,
    );
  }
  return [...tokens, ...read];
}
