import { once } from "node:events";
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect as connectHttp2,
  createSecureServer,
  type Http2Session,
  type ServerHttp2Stream,
} from "node:http2";
import { connect, createServer, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { connect as connectTls, type SecureContextOptions, type TLSSocket } from "node:tls";
import { framed } from "../../support/protobuf.ts";
import { allowed, type Entry, pinnedNames, tlsOf } from "./certificates.ts";
import { OriginalError } from "./jsonrpc.ts";
import {
  type Json,
  type JsonObject,
  messagesOf,
  type Request,
  type Response,
  readRequest,
  readResponse,
  writeRequest,
  writeResponse,
} from "./messages.ts";

/** A failure inside an original broker: status UNKNOWN on a call, code -100 on a reverse stream. */
class BrokerError extends Error {}

type Where = { host?: string; port: number; name: string; token?: Buffer };
type Reverse = {
  stream: ServerHttp2Stream;
  session: Http2Session;
  answers: AsyncGenerator<Buffer>;
};
type Backend = (call: { method: string; params: JsonObject; id: string }) => Json | Promise<Json>;

const HEADERS = { ":status": 200, "content-type": "application/grpc" };
/** An original tries again every 60 s; nobody here has the time. */
const RECONNECT_MS = 100;
/** Everything before the last dot before the method; Go's regular expression (eps-protocol 4.1). */
const ADDRESS = /^(.*)\.([^(.]+)\(([^)]+)\)$/;

/**
 * An endpoint as the original program is (eps-protocol 3, 4, 6.3), defects included: each call has a
 * connection of its own, a reverse stream carries one request at a time, and its answer is whatever
 * comes next, without a look at its id.
 */
export class OriginalEndpoint implements AsyncDisposable {
  /** How reverse streams to others ended: their status, or `dropped`. An original never recovers from 0. */
  readonly endings: string[] = [];
  /** The names by which we were called in TLS. */
  readonly serverNames = new Set<unknown>();
  /** Requests as they came in, by either way. */
  readonly requests: Request[] = [];
  /** Sessions of those who dialled us, or to whom we dialled to be called. */
  readonly sessions = new Set<Http2Session>();
  readonly name: string;
  readonly #directory: Map<string, Entry>;
  readonly #tls: SecureContextOptions;
  readonly #server: ReturnType<typeof createSecureServer>;
  readonly #door = createServer((socket) => this.accept(socket));
  readonly #backend: Backend;
  readonly #clients = new Map<string, Reverse>();
  readonly #outgoing = new Set<ClientHttp2Session>();
  readonly #inTransit = new Set<string>();
  #turn: Promise<unknown> = Promise.resolve();
  #closed = false;

  constructor(
    name: string,
    {
      certs,
      directory,
      backend = () => null,
      tls = {},
    }: {
      certs: string;
      directory: Map<string, Entry>;
      backend?: Backend;
      tls?: SecureContextOptions;
    },
  ) {
    this.name = name;
    this.#directory = directory;
    this.#backend = backend;
    this.#tls = { ...tlsOf(certs, name), ...tls };
    this.#server = createSecureServer({ ...this.#tls, requestCert: true });
    this.#server.on("session", (session) => {
      this.sessions.add(session);
      session.on("error", () => {}).on("close", () => this.sessions.delete(session));
    });
    this.#server.on("stream", (stream, headers) => {
      stream.on("error", () => {});
      void this.#serve(stream, String(headers[":path"])).catch((reason) => {
        stream.respond(HEADERS, { waitForTrailers: true });
        stream.on("wantTrailers", () =>
          stream.sendTrailers({ "grpc-status": "2", "grpc-message": encodeURI(reason.message) }),
        );
        stream.end();
      });
    });
  }

  async listen(port: number): Promise<void> {
    this.#door.listen(port, "127.0.0.1");
    await once(this.#door, "listening");
  }

  /** Plays the TLS server on a socket, whoever dialled it. */
  accept(socket: Socket): void {
    socket.on("error", () => {});
    this.#server.emit("connection", socket);
  }

  /** Dials, says the token if there is one, calls once and hangs up. */
  async call(
    where: Where,
    request: Omit<Request, "clientName"> & { clientName?: string },
  ): Promise<Response> {
    const { session } = await this.#dial(where);
    try {
      const stream = open(session, "/EPS/Call");
      stream.end(framed(writeRequest({ clientName: this.name, ...request })));
      const over = ending(stream);
      const answers: Buffer[] = [];
      for await (const answer of messagesOf(stream)) answers.push(answer);
      const { status, message } = await over;
      const [answer] = answers;
      if (status === "0" && answer && answers.length === 1) return readResponse(answer);
      throw new Error(`rpc error: code = ${status} desc = ${message}`);
    } finally {
      session.destroy();
    }
  }

  /** Asks the proxy of an operator for a token, and calls the operator behind it (eps-protocol 6.2). */
  async callThrough(
    proxy: Where,
    { operator, ...request }: Omit<Request, "clientName"> & { operator: string },
  ): Promise<Response> {
    const id = `${proxy.name}.requestConnection(0a1b2c3d4e5f6071)`;
    const method = `${proxy.name}.requestConnection`;
    const params = { to: operator, channel: "grpc_server" };
    const { result, error } = await this.call(proxy, { method, id, params });
    if (error) throw new Error(`transport: Error while dialing ${error.message}`);
    const { token, endpoint } = result as { token: string; endpoint: string };
    const way = { ...hostAndPort(endpoint), token: Buffer.from(token, "base64") };
    return await this.call({ ...way, name: operator }, request);
  }

  /**
   * Keeps a reverse stream to somebody, and answers one request after the other. A stream that ends is
   * opened again, but never one that ends with OK: there an original hangs for ever.
   */
  async serveBy(where: Where): Promise<void> {
    while (!this.#closed) {
      const status = await this.#serveOnce(where).catch(() => undefined);
      if (this.#closed) return;
      this.endings.push(status ?? "dropped");
      if (status === "0") return;
      await sleep(RECONNECT_MS);
    }
  }

  async #serveOnce(where: Where): Promise<string | undefined> {
    const { session, names } = await this.#dial(where);
    this.#outgoing.add(session);
    const stream = open(session, "/EPS/ServerCall");
    const over = ending(stream);
    stream.write(framed(writeResponse({ id: "1", result: { name: this.name } })));
    const serving = async (): Promise<void> => {
      for await (const message of messagesOf(stream)) {
        const request = readRequest(message);
        this.requests.push(request);
        const response = await this.#answerReverse(request, names);
        stream.write(framed(writeResponse(response)));
      }
    };
    await serving().catch(() => {});
    stream.close();
    const { status } = await over;
    session.destroy();
    return status;
  }

  /** Is this operator connected by a reverse stream? */
  hasClient(name: string): boolean {
    return this.#clients.has(name);
  }

  /** Sends a request down a reverse stream, when it is its turn, and takes what comes next for the answer. */
  async ask(operator: string, request: Omit<Request, "clientName">): Promise<Response> {
    const asked = this.#turn.then(async () => {
      const client = this.#clients.get(operator);
      if (!client) throw new BrokerError("no channel can deliver this request");
      client.stream.write(framed(writeRequest({ ...request, clientName: this.name })));
      const { value, done } = await client.answers.next();
      if (done) throw new BrokerError("error receiving gRPC response: EOF");
      return readResponse(value);
    });
    this.#turn = asked.catch(() => {});
    return await asked;
  }

  /** Ends the reverse stream of an operator with OK, as nobody should. */
  hangUpOn(operator: string): void {
    this.#clients.get(operator)?.stream.end();
  }

  /** Opens no reverse stream again; those there are stay. */
  retire(): void {
    this.#closed = true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    for (const session of [...this.sessions, ...this.#outgoing]) session.destroy();
    this.#door.close();
    this.#server.close();
  }

  async #serve(stream: ServerHttp2Stream, path: string): Promise<void> {
    const { session } = stream;
    if (!session) return;
    const names = pinnedNames(this.#directory, leafOf(session.socket as TLSSocket));
    this.serverNames.add((session.socket as TLSSocket & { servername?: unknown }).servername);
    const messages = messagesOf(stream);
    const { value: first } = await messages.next();
    if (!first) return;
    if (path === "/EPS/ServerCall") {
      const { id, result } = readResponse(first);
      const name = String(result?.["name"]);
      if (id !== "1" || !names.includes(name)) throw new Error("invalid client name supplied");
      this.#clients.set(name, { stream, session, answers: messages });
      stream.on("close", () => this.#clients.delete(name)); // also if a newer one took its place
      stream.respond(HEADERS, { waitForTrailers: true });
      stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
      return;
    }
    if (path !== "/EPS/Call") throw new Error(`unknown method ${path}`);
    const request = readRequest(first);
    this.requests.push(request);
    const client = request.clientName === "" ? names[0] : request.clientName;
    if (!client || !names.includes(client)) throw new Error("no matching client");
    const response = await this.#deliver(request, client).catch((reason) => {
      throw new Error(`error handling gRPC request: ${reason.message}`);
    });
    stream.respond(HEADERS, { waitForTrailers: true });
    stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
    stream.end(framed(writeResponse(response)));
  }

  async #answerReverse(request: Request, names: string[]): Promise<Response> {
    const { id, clientName } = request;
    const client = clientName === "" ? names[0] : clientName;
    if (!client || !names.includes(client)) {
      return { id, error: { code: 404, message: "no matching client found" } };
    }
    return await this.#deliver(request, client).catch((reason) => ({
      id,
      error: { code: -100, message: reason.message },
    }));
  }

  /** What an original broker does with a request for itself (eps-protocol 4.2, 4.4, 4.6). */
  async #deliver({ id, method, params }: Request, client: string): Promise<Response> {
    if (this.#inTransit.has(id)) throw new BrokerError(`request ${id} is already being processed`);
    this.#inTransit.add(id);
    try {
      const [, operator, called = ""] = ADDRESS.exec(id) ?? [];
      const [caller, own] = [this.#directory.get(client), this.#directory.get(this.name)];
      if (!operator) throw new BrokerError("error parsing address: invalid ID format");
      if (!caller || !own) throw new BrokerError("no directory entry found");
      if (operator !== this.name) throw new BrokerError("no channel can deliver this request");
      const told = { ...params, _client: { name: client, entry: caller as unknown as Json } };
      if (!allowed(caller, own, called)) {
        const message = `Permission denied for method '${called}' and client '${client}'`;
        return { id, error: { code: 403, message } };
      }
      if (called === "_connectionRequest") return await this.#dialIn(id, told);
      const result = await this.#backend({
        id,
        method: method.slice(method.lastIndexOf(".") + 1),
        params: told,
      });
      return { id, result: isObject(result) ? result : { _: result } };
    } catch (reason) {
      if (!(reason instanceof OriginalError)) throw reason;
      return { id, error: reason.error };
    } finally {
      this.#inTransit.delete(id);
    }
  }

  async #dialIn(id: string, { endpoint, token, channel }: JsonObject): Promise<Response> {
    if (channel !== "grpc_server") throw new BrokerError("no channel accepted the request");
    const socket = connect({ ...hostAndPort(String(endpoint)), host: "127.0.0.1" });
    await once(socket, "connect");
    socket.write(Buffer.from(String(token), "base64"));
    this.accept(socket);
    return { id };
  }

  /** TCP, the token, TLS with the operator's name, and a look at whose certificate that is. */
  async #dial({ port, host = "127.0.0.1", name, token }: Where) {
    const socket = connect({ port, host });
    await once(socket, "connect");
    if (token) socket.write(token);
    const secure = connectTls({ socket, ...this.#tls, servername: name, ALPNProtocols: ["h2"] });
    await once(secure, "secureConnect");
    const names = pinnedNames(this.#directory, leafOf(secure));
    if (secure.alpnProtocol !== "h2" || names.length === 0) {
      secure.destroy();
      throw new Error(names.length === 0 ? "no name matched" : "h2 was not negotiated");
    }
    const session = connectHttp2(`https://${name}`, { createConnection: () => secure });
    session.on("error", () => {});
    return { session, names };
  }
}

function open(session: ClientHttp2Session, path: string): ClientHttp2Stream {
  const stream = session.request({
    ":method": "POST",
    ":path": path,
    "content-type": "application/grpc",
    "user-agent": "grpc-go/1.44.0",
    te: "trailers",
  });
  return stream.on("error", () => {});
}

/** How a stream ended; no status at all if the connection broke. */
async function ending(
  stream: ClientHttp2Stream,
): Promise<{ status: string | undefined; message: string }> {
  let headers: Record<string, unknown> = {};
  const take = (more: object) => {
    headers = { ...headers, ...more };
  };
  stream.on("response", take).on("trailers", take);
  await new Promise((resolve) => stream.once("close", resolve));
  const { "grpc-status": status, "grpc-message": message = "" } = headers;
  return { status: status as string | undefined, message: decodeURIComponent(String(message)) };
}

function leafOf(socket: TLSSocket): Buffer {
  return socket.getPeerCertificate().raw;
}

function isObject(value: Json): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function hostAndPort(endpoint: string): { host: string; port: number } {
  const colon = endpoint.lastIndexOf(":");
  return { host: endpoint.slice(0, colon), port: Number(endpoint.slice(colon + 1)) };
}
