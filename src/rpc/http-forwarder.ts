import {
  Agent,
  createServer,
  type Server as HttpServer,
  type IncomingMessage,
  ServerResponse,
} from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import type { Log } from "../core/log.ts";
import { formatEndpoint, parseEndpoint } from "../wire/endpoint.ts";
import { exchange, head, reset } from "./http-exchange.ts";
import { endToEnd, type Refusal, whoAsks } from "./http-headers.ts";
import type { Upstream } from "./http-upstream.ts";

const SOCKETS_MAX = 1_000;
/** Requests that may wait on one connection for the answer to the one before them. */
const PIPELINED_MAX = 100;
const CLIENT_TIMEOUT_MS = 60_000;
const CHECK_MS = 5_000;
/** Shorter than the 5 s after which servers made with Node hang up, so that we hang up first. */
const UPSTREAM_IDLE_MS = 4_000;
const UPSTREAM_FREE_MAX = 64;
/** How long answers under way may take at the end. */
const CLOSE_MS = 3_000;

const UNREACHABLE: Refusal = {
  status: 502,
  text: "The internal server cannot be reached. See internal_endpoint.address in the settings of the proxy.",
};
const UNUSABLE: Refusal = {
  status: 502,
  text: "The internal server's answer cannot be passed on. See internal_endpoint.address in the settings of the proxy.",
};
const SILENT: Refusal = {
  status: 504,
  text: "The internal server did not answer in time. See internal_endpoint.timeout in the settings of the proxy.",
};

export type HttpForwarder = AsyncDisposable & {
  /** Takes over a socket (a TLSSocket whose TLS we ended, or any Duplex) and serves HTTP on it. */
  accept(socket: Duplex): void;
};

type HttpForwarderSettings = {
  /** `host:port` of the internal server. */
  address: string;
  /** Until the first byte of its answer, and of silence between bytes. Not once it has upgraded. */
  timeout_ms: number;
  /** How long a client may take for its header, be silent when it is its turn, or stay idle. */
  client_timeout_ms?: number;
};

/** Passes everything that is asked on the sockets it is given to one internal server. */
export function openHttpForwarder(
  { address, timeout_ms, client_timeout_ms = CLIENT_TIMEOUT_MS }: HttpForwarderSettings,
  { log }: { log: Log },
): HttpForwarder {
  const { host: name, port } = parseEndpoint(address);
  const endpoint = { host: name || "localhost", port };
  const host = formatEndpoint(endpoint);
  const agent = upstreamAgent();
  let isMissed = false;
  const upstream: Upstream = {
    endpoint,
    host,
    agent,
    timeout_ms,
    client_timeout_ms,
    refusals: { unreachable: () => UNREACHABLE, unusable: UNUSABLE, silent: SILENT },
    reached() {
      isMissed = false;
    },
    // Warns once, when it begins: a stranger's requests must not flood the log.
    missed(err) {
      log[isMissed ? "debug" : "warn"](
        { err, address: host },
        "the internal server does not answer",
      );
      isMissed = true;
    },
  };
  const route = (request: IncomingMessage): Upstream => {
    return { ...upstream, says: whoAsks(request, "https") };
  };
  const forwarder = new Forwarder(route, { client_timeout_ms, log });
  return {
    accept: (socket) => forwarder.accept(socket),
    async [Symbol.asyncDispose]() {
      await forwarder[Symbol.asyncDispose]();
      agent.destroy();
    },
  };
}

/** Connections to a server, kept for a while between requests. */
function upstreamAgent(): Agent {
  return new Agent({
    keepAlive: true,
    maxSockets: SOCKETS_MAX,
    maxFreeSockets: UPSTREAM_FREE_MAX,
    timeout: UPSTREAM_IDLE_MS, // ends idle connections only
    autoSelectFamily: true, // `localhost` may be ::1 first where the server is on 127.0.0.1
  });
}

/** Where a request goes. */
type Route = (request: IncomingMessage) => Upstream;

/** A request and the place of its answer; it begins when it is first in its connection's line. */
type Turn = { response: ServerResponse; begin(): void };

/**
 * An HTTP/1.1 server that listens nowhere: it serves the sockets it is given, and passes what they
 * ask to where `route` says.
 */
export class Forwarder implements HttpForwarder {
  readonly #log: Log;
  readonly #route: Route;
  readonly #server: HttpServer;
  /** The requests of each connection, in order. */
  readonly #turns = new Map<Duplex, Turn[]>();
  readonly #upgraded = new Set<Duplex>();
  #closing: Promise<void> | undefined;

  constructor(
    route: Route,
    { client_timeout_ms = CLIENT_TIMEOUT_MS, log }: { client_timeout_ms?: number; log: Log },
  ) {
    this.#log = log;
    this.#route = route;
    this.#server = createServer({
      insecureHTTPParser: false,
      headersTimeout: client_timeout_ms,
      requestTimeout: 0, // a large body may take as long as it moves: the exchange watches that
      keepAliveTimeout: client_timeout_ms,
      connectionsCheckingInterval: Math.min(CHECK_MS, client_timeout_ms),
    });
    this.#server.maxHeadersCount = 0; // beyond a number node drops fields silently; size is limited
    const take = (request: IncomingMessage, response: ServerResponse): void => {
      this.#queue(request.socket, response, () =>
        exchange(this.#route(request), request, response),
      );
    };
    this.#server.on("request", take);
    this.#server.on("checkContinue", take);
    this.#server.on("upgrade", (request, socket, first) => this.#upgrade(request, socket, first));
    this.#server.emit("listening"); // starts the clock that enforces headersTimeout
  }

  accept(socket: Duplex): void {
    socket.on("error", (err) => this.#log.debug({ err }, "a connection broke"));
    if (socket.destroyed) return;
    if (this.#closing || this.#turns.size >= SOCKETS_MAX) {
      if (!this.#closing) this.#log.warn({ max: SOCKETS_MAX }, "too many connections at once");
      reset(socket);
      return;
    }
    this.#turns.set(socket, []);
    socket.once("close", () => {
      this.#turns.delete(socket);
      this.#upgraded.delete(socket);
    });
    this.#server.emit("connection", socket);
    socket.resume(); // it may have been handed over paused
  }

  /**
   * Lines requests up: Node hands over those that a client sends ahead of their answers all at once,
   * but what they do may depend on their order.
   */
  #queue(socket: Duplex, response: ServerResponse, begin: () => void): void {
    const turns = this.#turns.get(socket);
    if (!turns || turns.length >= PIPELINED_MAX) {
      reset(socket);
      return;
    }
    turns.push({ response, begin });
    response.once("close", () => {
      turns.shift();
      if (this.#closing) hangUp(socket);
      else if (socket.writable) turns[0]?.begin();
    });
    if (turns.length > 1) return;
    if (this.#closing) hangUp(socket);
    else begin();
  }

  /** Node has let go of the socket, so that an answer that refuses to upgrade is the last one on it. */
  #upgrade(request: IncomingMessage, socket: Duplex, first: Buffer): void {
    if (this.#turns.get(socket)?.length !== 0) {
      reset(socket); // it cannot know yet how what it asked before is answered
      return;
    }
    if (first.length > 0) socket.unshift(first);
    const response = new ServerResponse(request);
    response.shouldKeepAlive = false;
    response.assignSocket(socket as Socket);
    const drained = (): unknown => response.emit("drain");
    socket.on("drain", drained);
    response.once("finish", () => hangUp(socket));
    this.#queue(socket, response, () => {
      exchange(this.#route(request), request, response, (answer, server) => {
        socket.off("drain", drained);
        response.detachSocket(socket as Socket);
        this.#upgraded.add(socket);
        const { statusMessage = "", rawHeaders, headers } = answer;
        const upgrade =
          headers.upgrade === undefined ? [] : [["Upgrade", headers.upgrade] as const];
        const fields = [...endToEnd(rawHeaders), ["Connection", "Upgrade"] as const, ...upgrade];
        socket.write(head(101, statusMessage, fields));
        join(socket, server);
      });
    });
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    for (const [socket, turns] of this.#turns) {
      if (this.#upgraded.has(socket)) reset(socket);
      else if (turns.length === 0) hangUp(socket);
      else for (const { response } of turns) response.shouldKeepAlive = false;
    }
    for (let waited = 0; this.#turns.size > 0 && waited < CLOSE_MS; waited += 20) await sleep(20);
    for (const socket of this.#turns.keys()) reset(socket);
    this.#server.close();
  }
}

/** Ends a connection once everything written has left. */
function hangUp(socket: Duplex): void {
  socket.end(() => socket.destroy());
}

/** Raw bytes both ways. An end is passed on and leaves the other direction open; a break breaks both. */
function join(client: Duplex, server: Duplex): void {
  for (const [from, to] of [
    [client, server],
    [server, client],
  ] as const) {
    from.allowHalfOpen = true;
    from.on("close", () => {
      if (from.errored || !from.readableEnded || !from.writableFinished) reset(to);
    });
    from.pipe(to);
  }
}
