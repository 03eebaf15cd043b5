import type { Socket } from "node:net";
import { nanoid } from "nanoid";
import { Deadline } from "../../core/deadline.ts";
import type { Log } from "../../core/log.ts";
import { Scope } from "../../core/scope.ts";
import { dial } from "../../net/dial.ts";
import { openTls } from "../../net/live-tls.ts";
import { acceptTls } from "../../net/tls.ts";
import type { Circuits } from "../../relay/circuits.ts";
import type { Engine } from "../../relay/engine.ts";
import type { Line } from "../../relay/leg.ts";
import type { RpcEvents } from "../../rpc/events.ts";
import { openHttpForwarder } from "../../rpc/http-forwarder.ts";
import { JsonrpcClient } from "../../rpc/jsonrpc/client.ts";
import { openJsonrpcAcceptor } from "../../rpc/jsonrpc/server.ts";
import { JsonrpcServerSettings } from "../../rpc/settings.ts";
import { callIdText } from "../../wire/call-id.ts";
import type { PrivateProxySettings } from "./settings.ts";

const DIAL_MS = 5_000;

/** What a connection is for: the domain that its client asks for, and the request it belongs to. */
export type Visit = { readonly domain: string; readonly request: string };

/** Where connections for announced domains go. From `take` on the socket is the target's to close. */
export type Target = AsyncDisposable & { take(socket: Socket, visit: Visit): Promise<void> };

type Dependencies = { engine: Engine; circuits: Circuits; rpc: RpcEvents; log: Log };

/** Passes bytes through, or ends TLS here and forwards HTTP or JSON-RPC (eps-protocol 7.5). */
export async function openTarget(
  { internal_endpoint, name }: Pick<PrivateProxySettings, "internal_endpoint" | "name">,
  { engine, circuits, rpc, log }: Dependencies,
): Promise<Target> {
  const { address, tls } = internal_endpoint;
  if (!tls) return passThrough(address, { name, engine, circuits });
  const scope = new Scope();
  const service = scope.use(await openService(internal_endpoint, { rpc, log }));
  const files = scope.use(await openTls(tls, { log }));
  const acceptor = scope.use(
    acceptTls(
      files.current,
      { ...tls, alpn: ["http/1.1"] },
      {
        secured: (socket, took_ms) => {
          rpc.secured("target", took_ms);
          service.accept(socket);
        },
        failed: (reason) => rpc.handshakeFailed("target", reason),
      },
    ),
  );
  files.onChange((material) => acceptor.renew(material));
  return {
    async take(socket) {
      acceptor.accept(socket);
    },
    [Symbol.asyncDispose]: () => scope[Symbol.asyncDispose](),
  };
}

function passThrough(
  address: string,
  { name, engine, circuits }: { name: string; engine: Engine; circuits: Circuits },
): Target {
  const adopt = (socket: Socket, signal: AbortSignal): Promise<Line> =>
    engine.adopt(socket, signal).catch((reason) => {
      socket.destroy();
      throw reason;
    });
  return {
    async take(socket, { domain, request }) {
      using deadline = new Deadline(DIAL_MS, `dialling ${address}`);
      const arrived_at = performance.now();
      try {
        const inner = await dial(address, deadline.signal);
        inner.on("error", () => {}); // an error is followed by a close, which the splice sees
        const reached_at = performance.now();
        const door = "announced";
        const within = await adopt(inner, deadline.signal);
        const outer = await adopt(socket, deadline.signal).catch((reason) => {
          within.hangUp();
          throw reason;
        });
        void circuits.add({
          names: { caller: domain, callee: name, request },
          legs: {
            caller: { door, line: outer, arrived_at },
            callee: { door, line: within, arrived_at: reached_at },
          },
        });
      } catch (reason) {
        socket.destroy();
        throw reason;
      }
    },
    async [Symbol.asyncDispose]() {},
  };
}

/** Those of any JSON-RPC server, except that all its connections come from the public proxies. */
function limitsOf(path: string): JsonrpcServerSettings {
  const settings = JsonrpcServerSettings.parse({ bind_address: "localhost:0", path });
  return { ...settings, connections_per_source_max: settings.connections_max };
}

type Service = AsyncDisposable & { accept(socket: Socket): void };

async function openService(
  { address, timeout, jsonrpc_client, jsonrpc_path }: PrivateProxySettings["internal_endpoint"],
  { rpc, log }: { rpc: RpcEvents; log: Log },
): Promise<Service> {
  const timeout_ms = timeout * 1_000;
  if (!jsonrpc_client) return openHttpForwarder({ address, timeout_ms }, { log });
  const scope = new Scope();
  const client = scope.use(await JsonrpcClient.open(jsonrpc_client, { log }));
  const server = scope.use(
    await openJsonrpcAcceptor(limitsOf(jsonrpc_path), {
      serve: ({ id, method, params }, signal) => {
        const call = { method, params, id: id === undefined ? nanoid() : callIdText(id) };
        return client.call(call, { signal, timeout_ms });
      },
      log,
      told: { events: rpc, listener: "target" },
    }),
  );
  return {
    accept: (socket) => server.accept(socket),
    [Symbol.asyncDispose]: () => scope[Symbol.asyncDispose](),
  };
}
