import { createServer, type IncomingMessage, STATUS_CODES } from "node:http";
import type { Duplex } from "node:stream";
import type { TLSSocket } from "node:tls";
import { WebSocketServer } from "ws";
import type { Log } from "../../core/log.ts";
import { Scope } from "../../core/scope.ts";
import { type Listener, listen } from "../../net/listen.ts";
import type { LiveTls } from "../../net/live-tls.ts";
import type { TlsSettings } from "../../net/settings.ts";
import { unmapped } from "../../net/source.ts";
import { acceptTls, type Leaf, leafOf } from "../../net/tls.ts";
import { openTunnel, protocolsUpTo, READING, type TunnelSettings } from "./open.ts";
import type { Tunnel, TunnelDeps } from "./tunnel.ts";

const HANDSHAKE_MS = 10_000;
const STRANGERS_MAX = 4_096;
const STRANGERS_PER_SOURCE_MAX = 256;

/** Who wants to be a neighbour, and what it can show for it. */
export type Caller = {
  /** `Origin`; empty if it says none. */
  readonly name: string;
  readonly address: string;
  readonly port: number;
  readonly leaf: Leaf | undefined;
  readonly token: string | undefined;
};

type Refused = { status: 401 | 403 | 409 | 503; text: string };

type DoorSettings = TunnelSettings & {
  bind: string;
  setting: string;
  /** What we are called. */
  name: string;
  tls?: { files: LiveTls; settings: TlsSettings } | undefined;
};

type DoorDeps = {
  admit(caller: Caller): Refused | undefined;
  deps(caller: Caller): TunnelDeps;
  joined(caller: Caller, tunnel: Tunnel): void;
  turnedAway(caller: Caller | undefined, why: string): void;
  log: Log;
};

/** Where other sites dial in. Closing it says goodbye to all of them. */
export async function openTunnelDoor(settings: DoorSettings, deps: DoorDeps): Promise<Listener> {
  const parts = new Scope();
  const tunnels = new Set<Tunnel>();
  const protocols = protocolsUpTo(settings.version_max);
  const sockets = new WebSocketServer({
    ...READING,
    noServer: true,
    maxPayload: settings.message_max,
    handleProtocols: (offered) => protocols.find((each) => offered.has(each)) ?? false,
  });
  const server = createServer({
    insecureHTTPParser: false,
    headersTimeout: HANDSHAKE_MS,
    requestTimeout: HANDSHAKE_MS,
    connectionsCheckingInterval: 1_000,
  });
  server.emit("listening"); // starts the clock that enforces the timeouts
  server.on("request", (_, response) => {
    response.writeHead(426, { Upgrade: "websocket", Connection: "close" });
    response.end("This port is for tunnels: it speaks WebSocket only.\n");
  });
  server.on("upgrade", (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    const caller = callerOf(request);
    const refused = deps.admit(caller);
    if (refused) {
      deps.turnedAway(caller, refused.text);
      refuse(socket, refused);
      return;
    }
    sockets.handleUpgrade(request, socket, head, (accepted) => {
      const tunnel = openTunnel(
        accepted,
        {
          ...settings,
          dialled: false,
          remote: { host: unmapped(caller.address), port: caller.port },
        },
        deps.deps(caller),
      );
      tunnels.add(tunnel);
      void tunnel.link.closed.then(() => tunnels.delete(tunnel));
      deps.joined(caller, tunnel);
    });
  });
  let receive = (socket: Duplex): void => {
    socket.on("error", () => {});
    server.emit("connection", socket);
    socket.resume();
  };
  if (settings.tls) {
    const { files, settings: tls } = settings.tls;
    const secured = receive;
    const acceptor = parts.use(
      acceptTls(
        files.current,
        { ...tls, alpn: ["http/1.1"] },
        { secured, failed: (why) => deps.turnedAway(undefined, why) },
      ),
    );
    files.onChange((material) => acceptor.renew(material));
    receive = (socket) => acceptor.accept(socket);
  }
  const listener = parts.use(
    await listen(
      {
        bind: settings.bind,
        setting: settings.setting,
        connections_max: STRANGERS_MAX,
        connections_per_source_max: STRANGERS_PER_SOURCE_MAX,
      },
      receive,
    ),
  );
  return {
    port: listener.port,
    async [Symbol.asyncDispose]() {
      await Promise.all([...tunnels].map((tunnel) => tunnel[Symbol.asyncDispose]()));
      await parts[Symbol.asyncDispose]();
      server.close();
      server.closeAllConnections();
    },
  };
}

function callerOf(request: IncomingMessage): Caller {
  const { origin = "", authorization = "" } = request.headers;
  const { remoteAddress = "", remotePort = 0 } = request.socket;
  const [, token] = /^Bearer ([\x21-\x7e]+)$/.exec(authorization) ?? [];
  const secure = request.socket as Partial<TLSSocket>;
  const leaf = secure.authorized ? leafOf(secure.getPeerCertificate?.()) : undefined;
  return { name: origin, address: remoteAddress, port: remotePort, leaf, token };
}

function refuse(socket: Duplex, { status, text }: Refused): void {
  const head = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
    "Content-Type: text/plain; charset=utf-8",
    `Content-Length: ${Buffer.byteLength(text) + 1}`,
    "Connection: close",
  ];
  socket.end(`${head.join("\r\n")}\r\n\r\n${text}\n`, () => socket.destroy());
}
