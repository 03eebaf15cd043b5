/**
 * The way to the Redis that holds the list: one server, the master that sentinels name, or a cluster.
 *
 * A connection that breaks stays broken, and commands that were under way fail: `redis.ts` opens
 * another one and finds out what became of them. So every kind of reconnecting and sending again is
 * off. That is also why the sentinels are asked here and not by the library's sentinel client, which
 * sends a command again when it loses the connection, and would store entries twice.
 */
import { createClient, createCluster, RESP_TYPES, RootNodesUnavailableError } from "redis";
import { Deadline, orAbort } from "../core/deadline.ts";
import { Fault } from "../core/fault.ts";
import { type Endpoint, parseEndpoint } from "../wire/endpoint.ts";
import type { DatastoreSettings } from "./settings.ts";

export type RedisSettings = Extract<DatastoreSettings, { type: "redis" }>["settings"];

/** What is said to Redis here. Entries are bytes in both directions. */
export type RedisConnection = {
  readonly isReady: boolean;
  connect(): Promise<unknown>;
  destroy(): void;
  ping(): Promise<unknown>;
  lLen(key: string): Promise<number>;
  lRange(key: string, start: number, stop: number): Promise<Buffer[]>;
  rPush(key: string, values: Buffer[]): Promise<number>;
};

/** Whoever connects owns the connection, and destroys it. It has answered a PING. */
export async function connectRedis(settings: RedisSettings): Promise<RedisConnection> {
  const { addresses, password, database, master_name } = settings;
  const account = password === "" ? {} : { password };
  if (master_name === "" && addresses.length > 1) {
    return await opened(cluster(addresses.map(nodeAt), account));
  }
  const node = master_name === "" ? nodeAt(addresses[0] ?? "") : await masterOf(settings);
  return await opened(client(node, { ...account, database }));
}

type Account = { password?: string; database?: number };

/** Old servers know neither RESP 3 nor what libraries like to tell about themselves. */
const PLAIN = { RESP: 2, disableClientInfo: true, maintNotifications: "disabled" } as const;
const BYTES = { [RESP_TYPES.BLOB_STRING]: Buffer };

function client(node: Endpoint, account: Account) {
  const { host, port } = node;
  return createClient({
    ...PLAIN,
    ...account,
    disableOfflineQueue: true,
    socket: { host, port, connectTimeout: TCP_CONNECT_MS, reconnectStrategy: false },
  })
    .on("error", () => {}) // whoever waits for an answer hears of it
    .withTypeMapping(BYTES);
}

/** A cluster sends a command again only when a node refused it because the key is elsewhere. */
function cluster(nodes: Endpoint[], account: Account): RedisConnection {
  let lastError: unknown;
  const opening = createCluster({
    rootNodes: nodes.map((socket) => ({ socket })),
    minimizeConnections: true,
    defaults: {
      ...PLAIN,
      ...account,
      disableOfflineQueue: true,
      socket: { connectTimeout: TCP_CONNECT_MS, reconnectStrategy: false },
    },
    RESP: PLAIN.RESP,
  }).on("error", (reason) => {
    lastError = reason;
  });
  const found = opening.withTypeMapping(BYTES);
  return Object.assign(found, {
    async connect() {
      try {
        await opening.connect();
      } catch (reason) {
        throw reason instanceof RootNodesUnavailableError ? (lastError ?? reason) : reason;
      }
    },
  });
}

async function opened<C extends RedisConnection>(connection: C): Promise<C> {
  try {
    await inTime(connection.connect(), CONNECT_MS, "connecting");
    await inTime(connection.ping());
    return connection;
  } catch (reason) {
    connection.destroy();
    throw reason;
  }
}

/** Asks one sentinel after the other; they are asked without a password. */
async function masterOf({ addresses, master_name }: RedisSettings): Promise<Endpoint> {
  let failure: unknown;
  for (const address of addresses) {
    try {
      const sentinel = await opened(client(nodeAt(address), {}));
      try {
        const question = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", master_name];
        const answer = await inTime(sentinel.sendCommand<Buffer[] | null>(question));
        if (answer) return { host: String(answer[0]), port: Number(answer[1]) };
        failure = new Fault("settings", `the sentinels know no master_name "${master_name}"`);
      } finally {
        sentinel.destroy();
      }
    } catch (reason) {
      failure ??= reason;
    }
  }
  throw failure;
}

/** As Go dials it: no host is this machine. */
function nodeAt(address: string): Endpoint {
  const { host, port } = parseEndpoint(address);
  return { host: host || "localhost", port };
}

/** Every command has a deadline. What it brings after that nobody hears. */
export async function inTime<T>(work: Promise<T>, ms = COMMAND_MS, what = "redis"): Promise<T> {
  using deadline = new Deadline(ms, what);
  return await orAbort(work, deadline.signal);
}

const TCP_CONNECT_MS = 5_000;
/** TCP and the password. Longer than TCP alone, because a client cannot be destroyed while it dials. */
const CONNECT_MS = 8_000;
const COMMAND_MS = 5_000;
