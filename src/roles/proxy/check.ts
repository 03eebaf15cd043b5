import { explain } from "../../core/fault.ts";
import { type Finding, type Findings, findingsOf } from "../../core/findings.ts";
import { checkTls } from "../../net/check-tls.ts";
import { knock, ownAddress } from "../../net/knock.ts";
import { loadZeromq } from "../../relay/switch/zeromq.ts";
import { endpointOf } from "../../relay/tunnel/open.ts";
import type { Site } from "../../relay/west/site.ts";
import { checkOwnServer } from "../../rpc/jsonrpc/check-own.ts";
import { JsonrpcClient } from "../../rpc/jsonrpc/client.ts";
import type { JsonrpcClientSettings, JsonrpcServerSettings } from "../../rpc/settings.ts";
import { checkStore } from "../../store/check.ts";
import type { DatastoreSettings } from "../../store/settings.ts";
import { formatEndpoint } from "../../wire/endpoint.ts";
import { type DoorPlace, portsOf, sharedDoors } from "./doors.ts";
import { openPorts, readTokens } from "./pool-tokens.ts";
import { SECTIONS } from "./sections.ts";
import {
  POOL_PORTS,
  type PoolSettings,
  type ProxySettings,
  type ZeromqSettings,
} from "./settings.ts";
import { readCurve } from "./zeromq.ts";

const { ok, note, problem } = findingsOf("reachability");
const ANSWER_MS = 5_000;

/** Everything that the proxies of these settings need to work. Starts and changes nothing. */
export async function* checkProxies(settings: ProxySettings, signal: AbortSignal): Findings {
  if (!SECTIONS.some((section) => settings[section])) {
    yield findingsOf("settings").problem(
      `there is none of the sections ${SECTIONS.join(", ")}`,
      "Add the section of the proxy that shall run.",
    );
  }
  if (settings.public) {
    yield* checkOne(settings.public, "public", signal);
    const { internal_bind_address, tls_bind_address } = settings.public;
    yield await checkDoor(internal_bind_address, "public: internal_bind_address", signal);
    yield await checkDoor(tls_bind_address, "public: tls_bind_address", signal);
  }
  if (settings.private) {
    yield* checkOne(settings.private, "private", signal);
    const { tls, address, jsonrpc_client } = settings.private.internal_endpoint;
    if (tls) {
      const where = "private: internal_endpoint";
      yield* checkTls({ tls: { ...tls, verify_client: true }, where, plays: "server" });
    }
    if (!jsonrpc_client) yield await checkDoor(address, "the internal server", signal);
  }
  for (const pool of settings.pools ?? []) yield* checkPool(pool, signal);
  if (settings.west) yield* checkSite(settings.west, signal);
  if (settings.zeromq) yield* checkSwitch(settings.zeromq, signal);
  for (const [address, doors] of sharedDoors(settings)) yield checkShare(address, doors);
}

/** Which doors are at one address; those of several sections can be only in one process. */
function checkShare(address: string, doors: readonly DoorPlace[]): Finding {
  const { ok, note } = findingsOf("settings");
  const told = `${address} is shared by ${doors.map(({ setting }) => setting).join(", ")}`;
  const sections = new Set(doors.map(({ path }) => path[0]));
  if (sections.size === 1) return ok(told);
  return note(told, "Run these sections together, by `proxy run all`.");
}

/** Where a site of west listens, its certificate, and the sites that it dials. */
async function* checkSite(
  { control, door, links, listeners }: Site,
  signal: AbortSignal,
): Findings {
  if (door?.tls) yield* checkTls({ tls: door.tls, where: "west: wsts", plays: "server" });
  if (control) yield await checkDoor(control, "west: west.cp", signal);
  if (door) yield await checkDoor(door.bind, "west: wsts.sp", signal);
  for (const [url, { bind }] of listeners)
    yield await checkDoor(bind, `west: proxy: ${url}`, signal);
  for (const url of links.keys())
    yield await checkDoor(formatEndpoint(endpointOf(url)), `west: wstc: ${url}`, signal);
}

/** Whether there is ZeroMQ, the key and the certificates of a switch, and its ports. */
async function* checkSwitch(zeromq: ZeromqSettings, signal: AbortSignal): Findings {
  const settings = findingsOf("settings");
  try {
    await loadZeromq();
    await readCurve(zeromq);
    yield settings.ok("zeromq: the package can be loaded");
  } catch (reason) {
    yield settings.problem(explain(reason), "Do that, or correct the settings.");
  }
  const { host, internal_host, tls, tls_bind_address, proxy_ports } = zeromq;
  if (tls) yield* checkTls({ tls, where: "zeromq", plays: "server" });
  if (tls_bind_address) yield await checkDoor(tls_bind_address, "zeromq: tls_bind_address", signal);
  for (const [name, port] of Object.entries(portsOf(proxy_ports) ?? {})) {
    const at = { host: name === "internal" ? internal_host : host, port };
    yield await checkDoor(formatEndpoint(at), `zeromq: proxy_ports: ${name}`, signal);
  }
}

/** The doors of a pool, its certificates and its tokens. */
async function* checkPool(pool: PoolSettings, signal: AbortSignal): Findings {
  const where = `pools: ${pool.name}`;
  if (pool.tls) yield* checkTls({ tls: pool.tls, where, plays: "server" });
  const settings = findingsOf("settings");
  try {
    const { length } = await readTokens(pool);
    if (length > 0) yield settings.ok(`${where}: ${length} tokens let agents in`);
  } catch (reason) {
    yield settings.problem(explain(reason), "Write a token into the file, one a line.");
  }
  for (const port of openPorts(pool)) {
    yield settings.note(
      `${where}: whoever can dial its ${port} port may serve it`,
      port === "data"
        ? "Add tokens, or tls, unless only agents of yours can dial it."
        : "Use agents instead, unless only workers of yours can dial it.",
    );
  }
  for (const port of POOL_PORTS) {
    const bind = pool[`${port}_bind_address`];
    if (bind) yield await checkDoor(bind, `${where}: ${port}_bind_address`, signal);
  }
}

type Common = {
  name: string;
  datastore: DatastoreSettings;
  jsonrpc_client: JsonrpcClientSettings;
  jsonrpc_server: JsonrpcServerSettings;
};

/** What both proxies have: two TLS blocks, a store, a server and an endpoint beside them. */
async function* checkOne(
  { name, datastore, jsonrpc_client, jsonrpc_server }: Common,
  section: "public" | "private",
  signal: AbortSignal,
): Findings {
  const uses = [
    { tls: jsonrpc_server.tls, where: `${section}: jsonrpc_server`, plays: "server" },
    { tls: jsonrpc_client.tls, where: `${section}: jsonrpc_client`, plays: "client" },
  ] as const;
  for (const { tls, where, plays } of uses) if (tls) yield* checkTls({ tls, where, plays });
  yield await checkStore(datastore);
  const own = { method: "getAnnouncements", start: `proxy run ${section}` };
  yield await checkOwnServer(jsonrpc_server, own, signal);
  yield await checkEndpoint(jsonrpc_client, name, signal);
}

async function checkEndpoint(
  settings: JsonrpcClientSettings,
  name: string,
  signal: AbortSignal,
): Promise<Finding> {
  try {
    await using client = await JsonrpcClient.open(settings);
    const call = { method: `${name}._ping`, params: {} };
    const answer = await client.call(call, { signal, timeout_ms: ANSWER_MS });
    if ("result" in answer) return ok(`the endpoint of ${name} beside it answers`);
    return problem(
      `the endpoint beside it refuses ${name}._ping: ${answer.error.message}`,
      `Make sure that it is the endpoint of ${name}, and that the directory knows ${name}.`,
    );
  } catch (reason) {
    return problem(
      `the endpoint of ${name} beside it does not answer: ${explain(reason)}`,
      "Start it by `eps server run`, or correct jsonrpc_client: endpoint.",
    );
  }
}

async function checkDoor(bind: string, what: string, signal: AbortSignal): Promise<Finding> {
  try {
    await knock(ownAddress(bind), signal);
    return ok(`${what} (${bind}) answers`);
  } catch {
    return note(
      `nobody listens at ${what} (${bind})`,
      "Start it, unless it is meant to be stopped.",
    );
  }
}
