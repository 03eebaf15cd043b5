import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { createServer, request as httpRequest, type RequestListener, type Server } from "node:http";
import { createServer as createSecureServer, request as httpsRequest } from "node:https";
import { text } from "node:stream/consumers";
import type { SecureContextOptions } from "node:tls";
import type { Json, JsonObject } from "./messages.ts";

type RpcError = { code: number; message: string; data?: JsonObject };
type Reply = { status: number; result?: Json; error?: RpcError; id?: Json; text: string };

/**
 * Calls as an original does (eps-protocol 5.5, Appendix C): HTTP/1.1, a connection of its own, `id` empty
 * unless somebody asked for another, and the HTTP status is not looked at.
 */
export async function originalCall(
  {
    port,
    tls,
    server_name,
  }: { port: number; tls?: SecureContextOptions | undefined; server_name?: string },
  { method, params = {}, id = "" }: { method: string; params?: JsonObject; id?: Json },
): Promise<Reply> {
  const secure = { ...tls, servername: server_name, ALPNProtocols: ["http/1.1"] };
  const start = tls ? httpsRequest : httpRequest;
  const request = start({
    host: "127.0.0.1",
    port,
    path: "/jsonrpc",
    method: "POST",
    agent: false,
    headers: {
      "content-type": "application/json",
      accept: "application/json",
      "accept-encoding": "gzip",
      "user-agent": "Go-http-client/1.1",
      connection: "close",
    },
    ...(tls && secure),
  });
  request.end(JSON.stringify({ jsonrpc: "2.0", method, params, id }));
  const [response] = await once(request, "response");
  const body = await text(response);
  const { result, error, id: answered } = JSON.parse(body);
  if (error && !/"code":-?\d+[,}]/.test(body)) throw new Error("cannot unmarshal the error code");
  return {
    status: response.statusCode,
    text: body,
    id: answered,
    ...(error ? { error } : { result }),
  };
}

export class OriginalError extends Error {
  readonly error: RpcError;

  constructor(code: number, message: string, data?: JsonObject) {
    super(message);
    this.error = { code, message, ...(data !== undefined && { data }) };
  }
}

type Handler = (call: { method: string; params: JsonObject; id: string }) => Promise<Json> | Json;

/** A JSON-RPC server as originals have them (eps-protocol 5.1, 5.2), typo included; HTTP/1.1 only. */
export class OriginalJsonrpcServer implements AsyncDisposable {
  /** The texts of all requests. */
  readonly bodies: string[] = [];
  readonly #server: Server;

  constructor(handle: Handler, tls?: SecureContextOptions) {
    const listener: RequestListener = async (request, response) => {
      const body = await text(request);
      this.bodies.push(body);
      const answer = await answerTo(body, String(request.headers["content-type"]), handle);
      response.statusCode = "error" in answer ? 400 : 200;
      response.setHeader("content-type", "application/json; charset=utf-8");
      response.setHeader("connection", "close"); // allowed, and hard on whoever keeps connections
      response.end(JSON.stringify(answer));
    };
    const secure = { ...tls, requestCert: true, ALPNProtocols: ["http/1.1"] };
    this.#server = tls ? createSecureServer(secure, listener) : createServer(listener);
  }

  async listen(port: number): Promise<void> {
    this.#server.listen(port, "127.0.0.1");
    await once(this.#server, "listening");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.close();
    this.#server.closeAllConnections();
  }
}

async function answerTo(body: string, type: string, handle: Handler): Promise<JsonObject> {
  const early = (code: number, message: string) => ({
    jsonrpc: "2.0,",
    error: { code, message },
    id: null,
  });
  if (!/^application\/json(;.*)?$/i.test(type)) return early(-32700, "JSON required");
  const request = parsed(body);
  if (!isObject(request)) return early(-32700, "JSON required");
  const { jsonrpc, method, params, id = "" } = request;
  const fits =
    jsonrpc === "2.0" &&
    typeof method === "string" &&
    Buffer.byteLength(method) <= 100 &&
    isObject(params) &&
    (id === null || isInt32(id) || (typeof id === "string" && Buffer.byteLength(id) <= 1_024));
  if (!fits) return early(-32600, "invalid request: invalid input data");
  const inner = innerId(id as string | number | null);
  const outer = typeof id === "number" ? id : id || inner;
  try {
    const result = await handle({ method, params, id: inner });
    return { jsonrpc: "2.0", result, id: outer };
  } catch (reason) {
    if (!(reason instanceof OriginalError)) throw reason;
    return { jsonrpc: "2.0", error: reason.error as Json, id: outer };
  }
}

function innerId(id: string | number | null): string {
  if (id === null || id === "") return randomBytes(16).toString("hex");
  if (typeof id === "number") return `n:${id}`;
  return id.replace(/^(n+):(-?\d{1,32})$/, "$1$1:$2");
}

function parsed(body: string): Json {
  try {
    return JSON.parse(body);
  } catch {
    return null;
  }
}

function isInt32(value: Json): boolean {
  return typeof value === "number" && Number.isInteger(value) && value === (value | 0);
}

function isObject(value: Json | undefined): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
