import { Circuits } from "../../relay/circuits.ts";
import { tokenOf } from "../../relay/doors/token.ts";
import type { Leg } from "../../relay/leg.ts";
import { openEngine } from "../../relay/open-engine.ts";
import { Pairs } from "../../relay/rendezvous/pair.ts";
import { JsonrpcClient } from "../../rpc/jsonrpc/client.ts";
import { openJsonrpcServer } from "../../rpc/jsonrpc/server.ts";
import { answerFrom } from "../../rpc/methods.ts";
import { openStore } from "../../store/open.ts";
import { Announcements, PUBLIC, watchAnnouncements } from "./announcements.ts";
import { circuitLimits, door, pairLimits } from "./limits.ts";
import { answersPing } from "./own-endpoint.ts";
import { PublicBroker } from "./public-broker.ts";
import type { Playing, Stage } from "./roles.ts";
import type { PublicProxySettings } from "./settings.ts";

/** The public proxy: two that cannot reach each other both dial it, and it splices them together. */
export async function openPublicProxy(
  settings: PublicProxySettings,
  stage: Stage,
): Promise<Playing> {
  const { log, metrics, events, rpc, scope } = stage;
  const { internal_endpoint: endpoint } = settings;
  const engine = scope.use(await openEngine(settings.splice, { log }));
  const circuits = scope.use(new Circuits(circuitLimits(settings), { engine, events }));
  const pairs = new Pairs<Leg>(pairLimits(settings), {
    met: ({ names }, legs) => void circuits.add({ names, legs }),
    lonely: ({ names }, waiting) => {
      events.lonely(names);
      for (const { line } of waiting) line.hangUp();
    },
  });
  events.watchPairs(pairs);
  scope.defer(() => {
    for (const { line } of pairs.clear()) line.hangUp();
  });
  const store = scope.use(await openStore(settings.datastore, { log }));
  const announcements = await Announcements.open(PUBLIC, store, { log });
  watchAnnouncements(metrics, announcements);
  const eps = scope.use(await JsonrpcClient.open(settings.jsonrpc_client, { log }));
  const { name } = settings;
  stage.check("endpoint", answersPing(eps, name));
  const broker = new PublicBroker({ name, endpoint, pairs, announcements, eps, events, log });
  const { methods } = broker;
  const at = (bind: string, setting: string) => door(settings, { bind, setting }, stage);
  scope.use(
    await engine.openDoor(
      "token",
      at(settings.internal_bind_address, "public: internal_bind_address"),
      { events },
      (hello, leg) => {
        if (pairs.seat(tokenOf(hello), leg)) return;
        events.turnedAway("token", "unknown");
        leg.line.hangUp();
      },
    ),
  );
  scope.use(
    await engine.openDoor(
      "sni",
      at(settings.tls_bind_address, "public: tls_bind_address"),
      { events },
      (domain, leg) => void broker.passThrough(domain, leg, scope.signal),
    ),
  );
  scope.use(
    await openJsonrpcServer(settings.jsonrpc_server, {
      serve: (request, gone) => answerFrom(methods, request, gone),
      log,
      told: { events: rpc, listener: "proxy" },
      setting: "public: jsonrpc_server: bind_address",
    }),
  );
  return {
    ready: { operator: settings.name, endpoint, splice: engine.name },
    stopping: () => ({ circuits: circuits.open }),
  };
}
