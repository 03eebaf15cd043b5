import type { Server as HttpServer } from "node:http";
import type { Http2SecureServer } from "node:http2";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { FastifyReply, FastifyRequest } from "fastify";
import { Handshakes } from "../../net/handshakes.ts";
import { RateLimiter } from "../../net/rate-limit.ts";
import { connectionOf, Holdings, sourceOf } from "../../net/source.ts";
import { refuseFloods } from "../http2-floods.ts";
import type { JsonrpcServerSettings } from "../settings.ts";

type Settings = Pick<
  JsonrpcServerSettings,
  | "connections_max"
  | "connections_per_source_max"
  | "idle_timeout"
  | "request_timeout"
  | "tcp_rate_limits"
  | "tls"
>;

/** `busy` counts its requests; `rest` ends it if there are none for too long. */
type Connection = { busy: number; rest: NodeJS.Timeout };

/**
 * Who may connect to a JSON-RPC server, and for how long without being of use.
 *
 * A connection is busy from when the headers of a request are there until its answer was taken, and
 * is closed when it has not been busy for `idle_timeout`: it may be silent, dribble headers or send
 * pings meanwhile. Node has limits for some of this, but not for HTTP/2, nor for HTTP/1.1 beside it.
 */
export class Connections {
  readonly #settings: Settings;
  readonly #sockets = new Set<Socket>();
  readonly #connections = new Map<string, Connection>();
  readonly #timers = new WeakMap<FastifyRequest, NodeJS.Timeout>();
  readonly #perSource: Holdings;
  readonly #handshakes: Handshakes | undefined;

  constructor(server: HttpServer, settings: Settings) {
    this.#settings = settings;
    this.#perSource = new Holdings(settings.connections_per_source_max);
    const limiter = new RateLimiter([]);
    const secure = server as unknown as Http2SecureServer;
    if (settings.tls) this.#handshakes = new Handshakes(secure);
    secure.on("session", refuseFloods);
    server.on("connection", (socket: Socket) => {
      limiter.use(settings.tcp_rate_limits);
      if (!limiter.admits(socket.remoteAddress) || !this.#take(socket)) socket.destroy();
    });
  }

  /**
   * Follows a request whose headers are there. If it does not arrive whole within `request_timeout`,
   * `late` is called to say so, and it is hung up on.
   */
  attend(request: FastifyRequest, reply: FastifyReply, late: () => void): void {
    const connection = this.#connections.get(connectionOf(request.raw.socket));
    if (connection) connection.busy += 1;
    this.#arm(request, () => {
      reply.raw.once("finish", () => hangUp(request));
      late();
    });
    request.raw.once("end", () => clearTimeout(this.#timers.get(request)));
    reply.raw.once("close", () => {
      clearTimeout(this.#timers.get(request));
      if (!connection) return;
      connection.busy -= 1;
      if (connection.busy === 0) connection.rest.refresh();
    });
  }

  /** The answer to a request goes out now, and has as much time again to be taken. */
  answered(request: FastifyRequest): void {
    this.#arm(request, () => hangUp(request));
  }

  close(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  #arm(request: FastifyRequest, expired: () => void): void {
    clearTimeout(this.#timers.get(request));
    const timeout_ms = this.#settings.request_timeout * 1_000;
    this.#timers.set(request, setTimeout(expired, timeout_ms).unref());
  }

  #take(socket: Socket): boolean {
    const source = sourceOf(socket.remoteAddress);
    if (this.#sockets.size >= this.#settings.connections_max) return false;
    if (this.#handshakes && !this.#handshakes.admits(socket)) return false;
    if (!this.#perSource.take(source)) return false;
    const name = connectionOf(socket);
    const idle_ms = this.#settings.idle_timeout * 1_000;
    const rest = setTimeout(() => connection.busy > 0 || socket.destroy(), idle_ms).unref();
    const connection: Connection = { busy: 0, rest };
    this.#sockets.add(socket);
    this.#connections.set(name, connection);
    socket.once("close", () => {
      clearTimeout(rest);
      this.#sockets.delete(socket);
      this.#connections.delete(name);
      this.#perSource.release(source);
    });
    return true;
  }
}

/** Of HTTP/2 one stream, of HTTP/1.1 the connection. */
function hangUp({ raw }: FastifyRequest): void {
  const { stream } = raw as { stream?: Duplex };
  (stream ?? raw).destroy();
}
