import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { createServer, type Server as HttpServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { json } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { JsonrpcClient } from "../../../src/rpc/jsonrpc/client.ts";
import type { Knock } from "../load/legs.ts";
import type { Contestant, Relay, Ways } from "./relay.ts";
import { freePorts, Server } from "./server.ts";

const PROXY = fileURLToPath(new URL("../../../dist/bin/proxy.js", import.meta.url));
const NAME = "bench-proxy";
/** With those that warm it up as many as 20,000 descriptors allow, which is a usual hard limit. */
const MOST = { idle: 8_500, setups: 3_000 };
/** What the settings leave room for: everything that is prepared is expected at once. */
const ROOM = 20_000;
/** How many calls prepare circuits at once. */
const CALLERS = 16;

/** The engines that the setting `splice` can name. */
type Splice = "kernel" | "stream";

function broker(splice: Splice, what: string): Contestant {
  return {
    name: `eps-broker ${splice}`,
    what,
    most: MOST,
    rest_ms: 35_000, // a half minute after the last work it collects garbage
    start: ({ folder }) => startBroker(folder, splice),
  };
}

export const kernel = broker("kernel", "this proxy, splicing in the kernel");
export const stream = broker("stream", "this proxy, splicing by Node's streams");

/** The real program `proxy run public`, with an endpoint beside it that only acknowledges. */
async function startBroker(folder: string, splice: Splice): Promise<Relay> {
  const endpoint = await Endpoint.open();
  const [door = 0, tls_door = 0, rpc = 0] = await freePorts(3);
  await writeFile(
    join(folder, "settings.json"),
    JSON.stringify({
      public: {
        name: NAME,
        datastore: { type: "memory" },
        splice,
        internal_bind_address: `127.0.0.1:${door}`,
        internal_endpoint: `127.0.0.1:${door}`,
        tls_bind_address: `127.0.0.1:${tls_door}`,
        jsonrpc_client: { endpoint: endpoint.address },
        jsonrpc_server: { bind_address: `127.0.0.1:${rpc}`, path: "/jsonrpc" },
        accept_timeout: 600,
        limits: {
          circuits_max: ROOM,
          pending_max: ROOM,
          pending_per_caller_max: ROOM,
          strangers_max: ROOM,
          strangers_per_source_max: ROOM,
          hello_timeout: 60,
          drain_timeout: 0,
        },
      },
    }),
  );
  const env = { PROXY_SETTINGS: folder };
  const argv = [process.execPath, PROXY, "run", "public"] as const;
  const server = await Server.start(argv, { folder, port: rpc, env });
  const client = await JsonrpcClient.open({
    endpoint: `http://127.0.0.1:${rpc}/jsonrpc`,
    local: true,
  });
  return {
    pids: [server.pid],
    prepare: (circuits) => prepare(circuits, { client, endpoint, port: door }),
    async [Symbol.asyncDispose]() {
      await client[Symbol.asyncDispose]();
      await server[Symbol.asyncDispose]();
      await endpoint[Symbol.asyncDispose]();
    },
  };
}

/** Asks for so many circuits, as the endpoint beside the proxy does for operators. */
async function prepare(
  circuits: number,
  { client, endpoint, port }: { client: JsonrpcClient; endpoint: Endpoint; port: number },
): Promise<Ways> {
  const [callers, callees]: [Knock[], Knock[]] = [[], []];
  let next = 0;
  const ask = async (): Promise<void> => {
    for (let circuit = next++; circuit < circuits; circuit = next++) {
      const to = `callee-${circuit}`;
      const _client = { name: "caller", entry: { name: "caller", channels: [] } };
      const params = { to, channel: "grpc_server", _client };
      const answer = await client.call({ method: "requestConnection", params });
      if ("error" in answer) throw new Error(`no circuit: ${answer.error.message}`);
      const { token } = answer.result as { token: string };
      callers[circuit] = { hello: token, welcome: "" };
      callees[circuit] = { hello: endpoint.tokenOf(to), welcome: "" };
    }
  };
  await Promise.all(Array.from({ length: CALLERS }, ask));
  return { caller: { port, knocks: callers }, callee: { port, knocks: callees } };
}

/** Stands for the endpoint beside the proxy: acknowledges every call and keeps the callees' tokens. */
class Endpoint implements AsyncDisposable {
  readonly #server: HttpServer;
  readonly #tokens = new Map<string, string>();

  private constructor(server: HttpServer) {
    this.#server = server;
    server.on("request", async (request, reply) => {
      const { id, method, params } = (await json(request)) as {
        id: string;
        method: string;
        params: { token?: string };
      };
      const [operator = ""] = method.split(".");
      if (params.token !== undefined) this.#tokens.set(operator, params.token);
      reply.setHeader("content-type", "application/json");
      reply.end(JSON.stringify({ jsonrpc: "2.0", id, result: {} }));
    });
  }

  static async open(): Promise<Endpoint> {
    const server = createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    return new Endpoint(server);
  }

  get address(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/jsonrpc`;
  }

  /** The secret that the proxy had for this callee; once. */
  tokenOf(operator: string): string {
    const token = this.#tokens.get(operator);
    if (token === undefined) throw new Error(`the proxy did not tell ${operator}`);
    this.#tokens.delete(operator);
    return token;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await once(this.#server.close(), "close");
  }
}
