import type { Duplex } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import type { TLSSocket } from "node:tls";
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from "fastify";
import { explain, FAULTS, Fault } from "../../core/fault.ts";
import type { Log } from "../../core/log.ts";
import { expressionOf } from "../../core/settings/shapes.ts";
import { bindFault, bindOptions, type Listener } from "../../net/listen.ts";
import { type LiveTls, openTls } from "../../net/live-tls.ts";
import { sourceOf } from "../../net/source.ts";
import { type Leaf, leafOf, remember } from "../../net/tls.ts";
import { type Answer, faultAnswer } from "../../wire/answer.ts";
import { formatResponse, parseRequest, type Request } from "../../wire/jsonrpc.ts";
import type { ListenerName, RpcEvents } from "../events.ts";
import type { JsonrpcServerSettings } from "../settings.ts";
import { Connections } from "./connections.ts";
import { allowOrigins } from "./cors.ts";

/** How long answers under way may take at the end. */
const CLOSE_MS = 3_000;
const HANDSHAKE_MS = 10_000;
/** Requests that one HTTP/2 connection may have open. */
const STREAMS_MAX = 1_000;

/** What there is to a request beside what it says. */
export type Exchange = {
  /** Header fields for the reply, which whoever answers may fill in. Names are in lower case. */
  readonly headers: Record<string, string>;
  /** The certificate that the caller has proved to own; undefined if it showed none. */
  readonly leaf: Leaf | undefined;
  /** Where the connection comes from, as limits per source count it. */
  readonly source: string;
};

/** Answers one request. `signal` aborts when the caller hangs up or the server closes. */
type Serve = (request: Request, signal: AbortSignal, exchange: Exchange) => Promise<Answer>;

type Dependencies = {
  serve: Serve;
  log: Log;
  /** Who hears of requests and handshakes, and by which name. */
  told?: { events: RpcEvents; listener: ListenerName } | undefined;
};

/**
 * JSON-RPC over HTTP/1.1 and, with TLS, HTTP/2 (eps-protocol 5.1): one request a POST, every error
 * an HTTP 400 that carries a JSON-RPC error, ids echoed exactly. The size of a body is checked
 * before it is read, and a request that is too large is read to its end and thrown away, because
 * hanging up on a caller that still sends would lose the answer.
 */
export async function openJsonrpcServer(
  settings: JsonrpcServerSettings,
  { setting, ...deps }: Dependencies & { setting: string },
): Promise<Listener> {
  const { app, close } = await makeService(settings, deps);
  try {
    await app.listen(listenOptions(settings.bind_address));
  } catch (cause) {
    throw bindFault(settings.bind_address, setting, cause);
  }
  const { port } = app.server.address() as { port: number };
  deps.log.debug({ address: settings.bind_address, port, setting }, "accepting JSON-RPC");
  return { port, [Symbol.asyncDispose]: close };
}

/** The same over sockets that come from elsewhere; from `accept` on they are the server's to close. */
export async function openJsonrpcAcceptor(
  settings: ServiceSettings,
  deps: Dependencies,
): Promise<AsyncDisposable & { accept(socket: Duplex): void }> {
  const { app, close } = await makeService(settings, deps);
  return {
    accept: (socket) => void app.server.emit("connection", socket),
    [Symbol.asyncDispose]: close,
  };
}

type ServiceSettings = Omit<JsonrpcServerSettings, "bind_address">;

async function makeService(
  settings: ServiceSettings,
  { serve, log, told }: Dependencies,
): Promise<{ app: FastifyInstance; close(): Promise<void> }> {
  const tls = settings.tls && (await openTls(settings.tls, { log }));
  const app = makeServer(settings, tls);
  const server = app.server;
  const underWay = new Set<AbortController>();
  const connections = new Connections(server, settings);
  const { source, flags } = expressionOf(settings.path);
  const path = new RegExp(`^(?:${source})$`, flags);

  // The method is not checked, and a GET may have a body (eps-protocol 5.1).
  app.addHttpMethod("GET", { hasBody: true, overrideExisting: true });
  app.removeAllContentTypeParsers();
  app.addContentTypeParser("*", { parseAs: "buffer" }, (_, body, done) => done(null, body));
  app.addHook("onRequest", async (request, reply) => {
    const { request_timeout } = settings;
    connections.attend(request, reply, () => {
      if (reply.sent) return;
      const message = `the request did not arrive within ${request_timeout} s (request_timeout)`;
      sendFault(reply, new Fault("timeout", message), null);
    });
    if (settings.cors && allowOrigins(settings.cors, request, reply)) return reply.send();
    if (!path.test(request.url.replace(/\?.*$/, ""))) {
      return reply.code(404).send({ message: "not found" });
    }
    return undefined;
  });
  app.addHook("onSend", async (request) => connections.answered(request));
  app.addHook("onResponse", async (_, reply) => {
    told?.events.answered(told.listener, reply.statusCode, reply.elapsedTime);
  });
  server.on("tlsClientError", (reason: Error) => {
    told?.events.handshakeFailed(told.listener, explain(reason));
  });
  app.setErrorHandler((reason, _, reply) => {
    const fault = httpFault(reason, settings.body_max);
    if (fault.fault === "internal") log.error({ err: reason }, "a request failed");
    reply.removeHeader("connection");
    return sendFault(reply, fault, null);
  });
  app.all("/*", async (request, reply) => {
    const gone = new AbortController();
    const hangUp = (): void => gone.abort(new Fault("unreachable", "the caller hung up"));
    reply.raw.once("close", hangUp);
    if (isGone(reply)) hangUp();
    underWay.add(gone);
    try {
      return await answer(request, reply, gone.signal);
    } finally {
      underWay.delete(gone);
      reply.raw.off("close", hangUp);
    }
  });

  async function answer(
    request: FastifyRequest,
    reply: FastifyReply,
    gone: AbortSignal,
  ): Promise<FastifyReply> {
    let id: string | number | null = null;
    try {
      const parsed = parseRequest(parseBody(request));
      id = parsed.id ?? null;
      const leaf = provenLeaf(request);
      const exchange: Exchange = { headers: {}, leaf, source: sourceOf(request.ip) };
      const answer = await serve(parsed, gone, exchange);
      reply.headers(exchange.headers);
      return send(reply, "error" in answer ? 400 : 200, answer, id);
    } catch (reason) {
      const fault = Fault.from(reason);
      if (fault.fault === "internal") log.error({ err: fault.cause }, "a request failed");
      else log.debug({ err: fault }, "refused a request");
      return sendFault(reply, fault, id);
    }
  }

  await app.ready();
  return {
    app,
    async close() {
      server.close();
      await tls?.[Symbol.asyncDispose]();
      for (let waited = 0; underWay.size > 0 && waited < CLOSE_MS; waited += 20) await sleep(20);
      for (const gone of underWay) gone.abort(new Fault("unreachable", "the server is stopping"));
      await sleep(0); // lets the answers to those that were aborted get out
      connections.close();
      await app.close();
    },
  };
}

function makeServer(settings: ServiceSettings, tls: LiveTls | undefined): FastifyInstance {
  const options = {
    logger: false,
    bodyLimit: settings.body_max,
    keepAliveTimeout: settings.idle_timeout * 1_000,
    http2SessionTimeout: settings.idle_timeout * 1_000,
    forceCloseConnections: true,
  };
  if (!settings.tls || !tls) return Fastify(options);
  const https = {
    ...tls.current,
    allowHTTP1: true,
    handshakeTimeout: HANDSHAKE_MS,
    settings: { maxConcurrentStreams: STREAMS_MAX },
    requestCert: settings.tls.verify_client || settings.tls.request_client_cert,
    rejectUnauthorized: settings.tls.verify_client,
  };
  const app = Fastify({ ...options, http2: true, https });
  app.server.on("secureConnection", remember);
  tls.onChange((material) => app.server.setSecureContext(material));
  return app as unknown as FastifyInstance;
}

/** Not by whose word, but by whose handshake: no header and no other certificate counts. */
function provenLeaf({ raw: { socket } }: FastifyRequest): Leaf | undefined {
  const { getPeerCertificate } = socket as Partial<TLSSocket>;
  return leafOf(getPeerCertificate?.call(socket));
}

/** Has the caller hung up while its request was still being read, too early for anybody to listen? */
function isGone({ raw }: FastifyReply): boolean {
  const { stream } = raw as { stream?: Duplex };
  return (stream ?? raw).destroyed;
}

function listenOptions(bind: string): { host: string; port: number } {
  const { host = "::", port } = bindOptions(bind);
  return { host, port };
}

function parseBody(request: FastifyRequest): unknown {
  const type = request.headers["content-type"] ?? "";
  if (!/^application\/json(;.*)?$/i.test(type)) {
    throw new Fault("unreadable", TYPE_REQUIRED);
  }
  try {
    return JSON.parse((request.body as Buffer | undefined)?.toString("utf8") ?? "");
  } catch (cause) {
    throw new Fault("unreadable", "JSON required: the body is not JSON", { cause });
  }
}

const TYPE_REQUIRED = "JSON required: send it with Content-Type: application/json";

function httpFault(reason: unknown, body_max: number): Fault {
  const { code, statusCode } = reason as { code?: string; statusCode?: number };
  if (code === "FST_ERR_CTP_BODY_TOO_LARGE") {
    return new Fault("too_large", `the request is larger than ${body_max} bytes (body_max)`);
  }
  if (statusCode === 415) return new Fault("unreadable", TYPE_REQUIRED);
  if (statusCode && statusCode < 500) return new Fault("invalid_request", explain(reason));
  return Fault.from(reason);
}

function sendFault(reply: FastifyReply, fault: Fault, id: string | number | null): FastifyReply {
  return send(reply, FAULTS[fault.fault].http, faultAnswer(fault), id);
}

function send(
  reply: FastifyReply,
  status: number,
  answer: Answer,
  id: string | number | null,
): FastifyReply {
  return reply
    .code(status)
    .header("content-type", "application/json; charset=utf-8")
    .send(JSON.stringify(formatResponse(answer, id)));
}
