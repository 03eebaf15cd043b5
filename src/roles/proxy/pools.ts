import * as z from "zod";
import { Fault } from "../../core/fault.ts";
import type { Log } from "../../core/log.ts";
import { openTls } from "../../net/live-tls.ts";
import { Circuits } from "../../relay/circuits.ts";
import { openEngine } from "../../relay/open-engine.ts";
import { openPoolRelay, type PoolRelay } from "../../relay/pool/relay.ts";
import { openJsonrpcServer } from "../../rpc/jsonrpc/server.ts";
import { answerFrom, type MethodTable, method } from "../../rpc/methods.ts";
import { circuitLimits, door, gateSettings, poolTerms } from "./limits.ts";
import { openPorts, readTokens } from "./pool-tokens.ts";
import type { Playing, Stage } from "./roles.ts";
import type { PoolSettings, ProxySettings } from "./settings.ts";

/** Relays for servers that can only dial out: they keep connections waiting, and clients are given them. */
export async function openPools(
  pools: readonly PoolSettings[],
  control: ProxySettings["pools_control"],
  stage: Stage,
): Promise<Playing> {
  const { log, rpc, scope } = stage;
  const open = new Map<string, PoolRelay>();
  for (const settings of pools) open.set(settings.name, await openPool(settings, stage));
  if (control) {
    const methods = controlOf(open, log);
    scope.use(
      await openJsonrpcServer(control, {
        serve: (request, gone) => answerFrom(methods, request, gone),
        log,
        told: { events: rpc, listener: "control" },
        setting: "pools_control: bind_address",
      }),
    );
  }
  return {
    ready: { pools: [...open.keys()] },
    stopping: () => ({
      circuits: [...open.values()].reduce((sum, { count }) => sum + count.matches, 0),
    }),
  };
}

/** One pool with all that belongs to it, which the scope owns. */
async function openPool(settings: PoolSettings, stage: Stage): Promise<PoolRelay> {
  const { events, log, scope } = stage;
  const { name, tls, worker_bind_address } = settings;
  const tokens = await readTokens(settings);
  // A session of TLS lives in this program, so that no other could move its bytes.
  const engine = scope.use(await openEngine(tls ? "stream" : settings.splice, { log }));
  const circuits = scope.use(new Circuits(circuitLimits(settings), { engine, events }));
  const files = tls && scope.use(await openTls(tls, { log }));
  const at = (key: "data" | "command" | "client" | "worker", bind: string) =>
    door(settings, { bind, setting: `pools: ${name}: ${key}_bind_address` }, stage);
  const terms = poolTerms(settings);
  const relay = await openPoolRelay(
    {
      terms: { pool: name, tokens },
      ports: {
        data: at("data", settings.data_bind_address),
        command: at("command", settings.command_bind_address),
        client: at("client", settings.client_bind_address),
        worker: worker_bind_address ? at("worker", worker_bind_address) : undefined,
      },
      tls: tls && files && { settings: tls, files },
      gate: gateSettings(settings),
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
  log.info({ pool: name, ...relay.ports, gate: settings.gate, splice: engine.name }, "pool open");
  for (const port of openPorts(settings)) {
    log.warn(
      { pool: name },
      `whoever can dial the ${port} port may serve this pool: ${CURE[port]}`,
    );
  }
  return relay;
}

const CURE = { data: "set tokens, or tls", worker: "let only your workers dial it, or use agents" };

/** What can be asked of pools while they run. */
function controlOf(open: ReadonlyMap<string, PoolRelay>, log: Log): MethodTable {
  const Named = z.object({ pool: z.string() });
  const change = (what: "suspend" | "resume") =>
    method(Named, ({ pool: name }) => {
      const pool = open.get(name);
      if (!pool) throw new Fault("not_found", `no pool ${name} (there are ${[...open.keys()]})`);
      pool[what]();
      log.info({ pool: name }, what === "suspend" ? "pool suspended" : "pool resumed");
      return { pool: name, ...pool.count };
    });
  return new Map([
    [
      "getPools",
      method(z.object({}), () => ({
        pools: [...open].map(([pool, { ports, count }]) => ({ pool, ports, ...count })),
      })),
    ],
    ["suspendPool", change("suspend")],
    ["resumePool", change("resume")],
  ]);
}
