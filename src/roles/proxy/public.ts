import { aborted } from "../../core/deadline.ts";
import type { Log } from "../../core/log.ts";
import { Scope } from "../../core/scope.ts";
import { Circuits } from "../../relay/circuits.ts";
import { openSniDoor } from "../../relay/doors/sni.ts";
import { openTokenDoor } from "../../relay/doors/token.ts";
import type { Leg } from "../../relay/leg.ts";
import { Pairs } from "../../relay/rendezvous/pair.ts";
import { JsonrpcClient } from "../../rpc/jsonrpc/client.ts";
import { openJsonrpcServer } from "../../rpc/jsonrpc/server.ts";
import { answerFrom } from "../../rpc/methods.ts";
import { openMetricsServer } from "../../rpc/metrics-server.ts";
import { openStore } from "../../store/open.ts";
import { Announcements, PUBLIC } from "./announcements.ts";
import { circuitLimits, door, pairLimits } from "./limits.ts";
import { PublicBroker } from "./public-broker.ts";
import type { ProxySettings, PublicProxySettings } from "./settings.ts";

/** The public proxy: two that cannot reach each other both dial it, and it splices them together. */
export async function runPublicProxy(
  settings: PublicProxySettings,
  { log, metrics }: { log: Log; metrics?: ProxySettings["metrics"] },
  signal: AbortSignal,
): Promise<void> {
  await using scope = new Scope(signal);
  const { internal_endpoint: endpoint } = settings;
  const circuits = scope.use(new Circuits(circuitLimits(settings), { log }));
  const pairs = new Pairs<Leg>(pairLimits(settings), {
    met: ({ names }, legs) => circuits.add({ names, legs }),
    lonely: ({ names }, waiting) => {
      log.info({ ...names, ending: "lonely" }, "nobody came to meet");
      for (const { socket } of waiting) socket.destroy();
    },
  });
  scope.defer(() => {
    for (const { socket } of pairs.clear()) socket.destroy();
  });
  const store = scope.use(await openStore(settings.datastore, { log }));
  const announcements = await Announcements.open(PUBLIC, store, { log });
  const eps = scope.use(await JsonrpcClient.open(settings.jsonrpc_client, { log }));
  const { name } = settings;
  const broker = new PublicBroker({ name, endpoint, pairs, announcements, eps, log });
  const { methods } = broker;
  scope.use(
    await openTokenDoor(
      door(settings, {
        bind: settings.internal_bind_address,
        setting: "public: internal_bind_address",
      }),
      (token, leg) => {
        if (pairs.seat(token, leg)) return;
        log.debug({ door: "token", ending: "refused" }, "nobody expects this token");
        leg.socket.destroy();
      },
    ),
  );
  scope.use(
    await openSniDoor(
      door(settings, { bind: settings.tls_bind_address, setting: "public: tls_bind_address" }),
      (domain, leg) => void broker.passThrough(domain, leg, scope.signal),
    ),
  );
  scope.use(
    await openJsonrpcServer(settings.jsonrpc_server, {
      serve: (request, gone) => answerFrom(methods, request, gone),
      log,
      setting: "public: jsonrpc_server: bind_address",
    }),
  );
  if (metrics) scope.use(await openMetricsServer(metrics));
  log.info({ operator: settings.name, endpoint }, "ready");
  await aborted(scope.signal);
  log.info({ circuits: circuits.open }, "stopping");
}
