import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import { tlsOf } from "./certificates.ts";
import { OriginalError, OriginalJsonrpcServer, originalCall } from "./jsonrpc.ts";
import type { Json, JsonObject } from "./messages.ts";

type Ports = { eps: number; jsonrpc: number; token: number };
type Options = { name: string; certs: string; ports: Ports; cut_ms: number; accept_ms?: number };

/**
 * A public proxy as the original program is (eps-protocol 6, 7), without its SNI listener. One token
 * serves both sides, it must arrive in a single read, an end is no half-close, and every circuit is cut
 * so many milliseconds after its first side was accepted; 5 s in the original.
 */
export class OriginalProxy implements AsyncDisposable {
  /** Why connections were turned away or cut, in order. */
  readonly cuts: string[] = [];
  circuits = 0;
  readonly #options: Options;
  readonly #jsonrpc: OriginalJsonrpcServer;
  readonly #door = createServer({ noDelay: true }, (socket) => this.#accept(socket));
  readonly #pending = new Map<string, Socket | undefined>();
  readonly #sockets = new Set<Socket>();

  constructor(options: Options) {
    this.#options = options;
    const { certs, name } = options;
    this.#jsonrpc = new OriginalJsonrpcServer(
      async ({ method, params }) => {
        if (method !== "requestConnection") throw new OriginalError(-32601, "method not found");
        return await this.#requestConnection(params);
      },
      tlsOf(certs, name),
    );
  }

  async listen(): Promise<void> {
    const { ports } = this.#options;
    await this.#jsonrpc.listen(ports.jsonrpc);
    this.#door.listen(ports.token, "127.0.0.1");
    await once(this.#door, "listening");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#door.close();
    await this.#jsonrpc[Symbol.asyncDispose]();
  }

  async #requestConnection({ _client, to, channel }: JsonObject): Promise<Json> {
    const { name, certs, ports, accept_ms = 10_000 } = this.#options;
    const client = validClient(_client);
    if (typeof to !== "string" || typeof channel !== "string") {
      throw new OriginalError(-32602, "invalid params");
    }
    const token = randomBytes(32).toString("base64");
    const endpoint = `localhost:${ports.token}`;
    this.#pending.set(token, undefined);
    const { error } = await originalCall(
      { port: ports.eps, tls: tlsOf(certs, name), server_name: name },
      { method: `${to}._connectionRequest`, params: { endpoint, client, channel, token } },
    );
    if (error) throw new OriginalError(error.code, error.message, error.data);
    setTimeout(() => this.#pending.delete(token), accept_ms).unref();
    return { token, endpoint };
  }

  #accept(socket: Socket): void {
    this.#sockets.add(socket);
    const cut = setTimeout(() => {
      this.cuts.push("deadline");
      socket.destroy();
    }, this.#options.cut_ms).unref();
    socket
      .on("error", () => {})
      .on("close", () => {
        clearTimeout(cut);
        this.#sockets.delete(socket);
      });
    // One read of at most 32 bytes; what comes behind them stays where it is.
    socket.once("readable", () => {
      const read = socket.read(Math.min(32, socket.readableLength)) as Buffer | null;
      const token = read?.toString("base64") ?? "";
      if (read?.length !== 32 || !this.#pending.has(token)) {
        this.cuts.push(read?.length === 32 ? "unknown token" : `a token of ${read?.length} bytes`);
        socket.destroy();
        return;
      }
      const other = this.#pending.get(token);
      if (!other) {
        this.#pending.set(token, socket);
        return;
      }
      this.#pending.delete(token);
      this.circuits += 1;
      join(other, socket);
      join(socket, other);
    });
  }
}

/** Bytes one way; whatever ends it ends both at once, with all that is still under way. */
function join(from: Socket, to: Socket): void {
  from.on("data", (bytes) => to.write(bytes));
  from.on("end", () => to.destroy()).on("close", () => to.destroy());
}

/** eps-protocol 6.6, with the trap: preferences need a `settings` map that original endpoints never send. */
function validClient(client: Json | undefined): Json {
  const { name, entry } = (client ?? {}) as JsonObject;
  const refuse = (): never => {
    throw new OriginalError(-32602, "invalid params");
  };
  if (typeof name !== "string" || typeof entry !== "object" || !entry || Array.isArray(entry)) {
    return refuse();
  }
  const isMap = (value: Json | undefined): boolean =>
    typeof value === "object" && value !== null && !Array.isArray(value);
  const { channels } = entry;
  if (typeof entry["name"] !== "string" || !Array.isArray(channels)) return refuse();
  for (const section of ["channels", "services", "settings", "preferences", "certificates"]) {
    const list = entry[section] ?? [];
    if (!Array.isArray(list) || !list.every(isMap)) return refuse();
    const needs = section === "settings" || section === "preferences";
    if (needs && !list.every((each) => isMap((each as JsonObject)["settings"]))) return refuse();
  }
  if (!channels.every((each) => typeof (each as JsonObject)["type"] === "string")) return refuse();
  return { name, entry: { ...entry, groups: null, records: null, properties: null } };
}
