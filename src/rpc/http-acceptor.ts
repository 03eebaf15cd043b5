import { createServer, type Server } from "node:http";
import type { Duplex } from "node:stream";

const CHECK_MS = 1_000;

/** A server of node:http that listens nowhere, and serves the sockets that it is given. */
type HttpAcceptor = AsyncDisposable & {
  readonly server: Server;
  /** Takes over a socket, which may be paused. */
  accept(socket: Duplex): void;
};

/** Whoever takes longer than `request_ms` to say a request is hung up on. */
export function openHttpAcceptor(request_ms: number): HttpAcceptor {
  const server = createServer({
    insecureHTTPParser: false,
    headersTimeout: request_ms,
    requestTimeout: request_ms,
    connectionsCheckingInterval: CHECK_MS,
  });
  server.emit("listening"); // starts the clock that enforces the timeouts
  return {
    server,
    accept(socket) {
      socket.on("error", () => {});
      server.emit("connection", socket);
      socket.resume();
    },
    async [Symbol.asyncDispose]() {
      server.close();
      server.closeAllConnections();
    },
  };
}
