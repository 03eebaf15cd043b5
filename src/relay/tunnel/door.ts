import { type IncomingMessage, STATUS_CODES } from "node:http";
import type { Duplex } from "node:stream";
import type { TLSSocket } from "node:tls";
import { WebSocketServer } from "ws";
import type { Listener, ListenOptions } from "../../net/listen.ts";
import { unmapped } from "../../net/source.ts";
import { type Leaf, leafOf } from "../../net/tls.ts";
import { openHttpAcceptor } from "../../rpc/http-acceptor.ts";
import { type EntranceTls, openEntrance } from "../doors/entrance.ts";
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

type DoorSettings = TunnelSettings &
  Pick<ListenOptions, "bind" | "setting" | "share"> & {
    /** What we are called. */
    name: string;
    tls?: EntranceTls | undefined;
  };

type DoorDeps = {
  admit(caller: Caller): Refused | undefined;
  deps(caller: Caller): TunnelDeps;
  joined(caller: Caller, tunnel: Tunnel): void;
  turnedAway(caller: Caller | undefined, why: string): void;
};

/** Where other sites dial in. Closing it says goodbye to all of them. */
export async function openTunnelDoor(settings: DoorSettings, deps: DoorDeps): Promise<Listener> {
  const tunnels = new Set<Tunnel>();
  const protocols = protocolsUpTo(settings.version_max);
  const sockets = new WebSocketServer({
    ...READING,
    noServer: true,
    maxPayload: settings.message_max,
    handleProtocols: (offered) => protocols.find((each) => offered.has(each)) ?? false,
  });
  const http = openHttpAcceptor(HANDSHAKE_MS);
  http.server.on("request", (_, response) => {
    response.writeHead(426, { Upgrade: "websocket", Connection: "close" });
    response.end("This port is for tunnels: it speaks WebSocket only.\n");
  });
  http.server.on("upgrade", (request: IncomingMessage, socket: Duplex, head: Buffer) => {
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
  const { bind, setting, share, tls } = settings;
  const options = {
    bind,
    setting,
    share,
    connections_max: STRANGERS_MAX,
    connections_per_source_max: STRANGERS_PER_SOURCE_MAX,
  };
  const listener = await openEntrance(options, tls && { ...tls, alpn: ["http/1.1"] }, {
    enter: (socket) => http.accept(socket),
    refused: (_, { reason = "" }) => deps.turnedAway(undefined, reason),
  });
  return {
    port: listener.port,
    async [Symbol.asyncDispose]() {
      await Promise.all([...tunnels].map((tunnel) => tunnel[Symbol.asyncDispose]()));
      await listener[Symbol.asyncDispose]();
      await http[Symbol.asyncDispose]();
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
