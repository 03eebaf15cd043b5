import type { Http2Server } from "node:http2";
import type { Duplex } from "node:stream";
import type { TLSSocket } from "node:tls";
import {
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerUnaryCall,
  type sendUnaryData,
  status,
} from "@grpc/grpc-js";
import { Fault } from "../../core/fault.ts";
import type { Log } from "../../core/log.ts";
import { openTls } from "../../net/live-tls.ts";
import type { TlsSettings } from "../../net/settings.ts";
import { acceptTls, type Leaf, leafOf } from "../../net/tls.ts";
import type { RpcEvents } from "../events.ts";
import { refuseFloods } from "../http2-floods.ts";
import { KEEPALIVE, MESSAGE_MAX } from "./limits.ts";
import { Eps, type WireRequest, type WireResponse } from "./messages.ts";

/** How long answers under way may take once the server closes. */
const CLOSE_MS = 3_000;
const STREAMS_MAX = 1_000;
/** A connection that carries no call for so long is asked to close; ours close themselves before. */
const IDLE_MS = 120_000;

/** What a connection may have us hold for it, MiB; past that it can open no more streams. */
const SESSION_MIB_MAX = 128;

/** The server's end of a reverse stream: requests out, responses in (eps-protocol 3.6). */
export type ReverseStream = ServerDuplexStream<WireResponse, WireRequest>;

type GrpcHandlers = {
  /** Answers one call. A fault it throws reaches the caller as status UNKNOWN. */
  call(request: WireRequest, leaf: Leaf, signal: AbortSignal): Promise<WireResponse>;
  /** Takes over a reverse stream. */
  reverse(stream: ReverseStream, leaf: Leaf): void;
};

export type GrpcServer = AsyncDisposable & {
  /** Takes over a socket, accepted or dialled, and serves gRPC over mutual TLS on it. */
  accept(socket: Duplex): void;
  /** Hangs up on every connection whose certificate is not good any more. */
  recheck(isGood: (leaf: Leaf) => boolean): void;
};

/**
 * A gRPC server that listens nowhere: every socket is given to it, so that one that was dialled
 * through a proxy is served exactly like one that was accepted.
 */
export async function openGrpcServer(
  tls: TlsSettings,
  { call, reverse }: GrpcHandlers,
  { log, events }: { log: Log; events?: RpcEvents | undefined },
): Promise<GrpcServer> {
  const server = new Server({
    ...KEEPALIVE,
    "grpc.max_receive_message_length": MESSAGE_MAX,
    "grpc.max_send_message_length": MESSAGE_MAX,
    "grpc.max_concurrent_streams": STREAMS_MAX,
    "grpc.max_connection_idle_ms": IDLE_MS,
    "grpc-node.max_session_memory": SESSION_MIB_MAX,
  });
  server.addService(Eps.service, {
    Call: (
      unary: ServerUnaryCall<WireRequest, WireResponse>,
      done: sendUnaryData<WireResponse>,
    ) => {
      const cancelled = new AbortController();
      const giveUp = (): void => cancelled.abort(new Fault("unreachable", "the caller gave up"));
      unary.on("cancelled", giveUp);
      const answered = async (): Promise<WireResponse> =>
        call(unary.request, provenLeaf(unary), cancelled.signal);
      answered()
        .finally(() => unary.off("cancelled", giveUp)) // told of every call that is over
        .then(
          (response) => done(null, response),
          (reason) => done(statusOf(reason, log)),
        );
    },
    ServerCall: (stream: ReverseStream) => {
      stream.on("error", () => {}); // a stream that breaks ends, which is what its owner waits for
      try {
        reverse(stream, provenLeaf(stream));
      } catch (reason) {
        stream.emit("error", statusOf(reason, log));
      }
    },
  });
  // TLS is ours, so that certificates are read once a connection; gRPC gets the plain side.
  const injector = server.createConnectionInjector(ServerCredentials.createInsecure());
  for (const http2 of http2Servers(server)) http2.on("session", refuseFloods);
  const connections = new Set<TLSSocket>();
  const files = await openTls(tls, { log });
  const acceptor = acceptTls(
    files.current,
    { ...tls, alpn: ["h2"] },
    {
      secured: (socket, took_ms) => {
        events?.secured("grpc", took_ms);
        socket.authorized ||= !tls.verify_client; // then the pin alone decides
        connections.add(socket);
        socket.once("close", () => connections.delete(socket));
        injector.injectConnection(socket);
      },
      failed: (reason) => events?.handshakeFailed("grpc", reason),
    },
  );
  files.onChange((material) => acceptor.renew(material));

  return {
    accept: (socket) => acceptor.accept(socket),
    recheck(isGood) {
      for (const socket of connections) {
        const leaf = leafOf(socket.getPeerCertificate());
        if (leaf && !isGood(leaf)) socket.destroy();
      }
    },
    async [Symbol.asyncDispose]() {
      await files[Symbol.asyncDispose]();
      // Asks every session to close behind its last answer. What it calls back is not to be relied
      // on: with Node 24 it does so before that. A session that is done closes its socket.
      server.tryShutdown(() => {});
      await acceptor.emptied(CLOSE_MS);
      server.forceShutdown();
      await acceptor[Symbol.asyncDispose]();
    },
  };
}

/** The library keeps them to itself; a test of the floods that they refuse holds this in place. */
function http2Servers(server: Server): Iterable<Http2Server> {
  return (server as unknown as { http2Servers: Map<Http2Server, unknown> }).http2Servers.keys();
}

function provenLeaf(call: Pick<ReverseStream, "getAuthContext">): Leaf {
  const leaf = leafOf(call.getAuthContext().sslPeerCertificate);
  if (!leaf) throw new Fault("forbidden", "no matching client: no certificate was presented");
  return leaf;
}

/** Originals expect UNKNOWN for whatever goes wrong inside (eps-protocol 3.5). */
function statusOf(reason: unknown, log: Log): { code: status; details: string } {
  const fault = Fault.from(reason);
  if (fault.fault === "internal") log.error({ err: fault.cause }, "a call failed");
  return { code: status.UNKNOWN, details: `error handling gRPC request: ${fault.message}` };
}
