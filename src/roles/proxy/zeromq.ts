import { readFile } from "node:fs/promises";
import type { TLSSocket } from "node:tls";
import { Fault } from "../../core/fault.ts";
import { openTls } from "../../net/live-tls.ts";
import { Circuits } from "../../relay/circuits.ts";
import { openEntrance } from "../../relay/doors/entrance.ts";
import { openEngine } from "../../relay/open-engine.ts";
import { AllowList } from "../../relay/switch/allow.ts";
import { openBothPorts } from "../../relay/switch/both-ports.ts";
import { SwitchEvents } from "../../relay/switch/events.ts";
import { PeerPort } from "../../relay/switch/port.ts";
import { PublisherProxy } from "../../relay/switch/publisher.ts";
import { ResponderProxy } from "../../relay/switch/router.ts";
import { type Curve, loadZeromq, type SocketLimits } from "../../relay/switch/zeromq.ts";
import { formatEndpoint } from "../../wire/endpoint.ts";
import { isOnePort, portsOf } from "./doors.ts";
import { door, peerLimits } from "./limits.ts";
import type { Playing, Stage } from "./roles.ts";
import { isCurveKey, type ZeromqSettings } from "./settings.ts";

/** What a connection by TLS is for, as its client says by ALPN. */
export const ALPN = { responder: "zeromq-responder", publisher: "zeromq-publisher" } as const;

type PortName = "responder" | "publisher" | "internal";

/** Both proxies of CAMEO, or one of them: `only` says which. */
export async function openZeromq(
  settings: ZeromqSettings,
  stage: Stage,
  only?: "responder" | "publisher",
): Promise<Playing> {
  const { log, metrics, events, scope } = stage;
  const switched = new SwitchEvents({ log, metrics });
  const zmq = await loadZeromq();
  const { tls, tls_bind_address } = settings;
  const engine = scope.use(await openEngine(tls ? "stream" : settings.splice, { log }));
  const circuits = scope.use(new Circuits(peerLimits(settings), { engine, events }));
  const curve = await readCurve(settings);
  if (curve?.asks) scope.use(await AllowList.open(zmq, settings.curve?.client_keys ?? []));
  const limits = socketLimits(settings);
  const deps = { curve, events: switched };
  const opened = <S extends AsyncDisposable>(which: string, open: () => Promise<S>) =>
    only === undefined || only === which ? open().then((proxy) => scope.use(proxy)) : undefined;
  const responder = await opened("responder", () => ResponderProxy.open(zmq, limits, deps));
  const publisher = await opened("publisher", () => PublisherProxy.open(zmq, limits, deps));
  const ports: Partial<Record<PortName, PeerPort>> = {};
  const bound: Partial<Record<PortName | "tls", number>> = {};
  const make = (name: PortName, inside: { near: number; far?: number }): PeerPort => {
    const own = { door: name, settings: portSettings(settings, name, stage), inside };
    const port = new PeerPort(own, { engine, circuits, events });
    ports[name] = port;
    return port;
  };
  const open = async (name: PortName, port: PeerPort): Promise<void> => {
    bound[name] = scope.use(await port.open()).port;
  };
  if (responder) make("responder", responder.ports);
  if (publisher) {
    make("publisher", publisher.ports);
    make("internal", { near: publisher.ports.publishers });
  }
  const { responder: asked, publisher: heard, internal } = ports;
  if (asked && heard && isOnePort(settings.proxy_ports)) {
    const both = { responder: asked, publisher: heard };
    const at = portSettings(settings, "responder", stage);
    bound.responder = bound.publisher = scope.use(await openBothPorts(at, both, events)).port;
  } else {
    if (asked) await open("responder", asked);
    if (heard) await open("publisher", heard);
  }
  if (internal) await open("internal", internal);
  if (tls && tls_bind_address) {
    const files = scope.use(await openTls(tls, { log }));
    const entrance = await openEntrance(
      door(settings, { bind: tls_bind_address, setting: "zeromq: tls_bind_address" }, stage),
      { settings: tls, files, alpn: Object.values(ALPN) },
      {
        enter: (socket) => {
          const { alpnProtocol } = socket as TLSSocket;
          const name = alpnProtocol === ALPN.publisher ? "publisher" : "responder";
          // Whoever carries it here may be a neighbour; who speaks inside is not.
          ports[name]?.enter(socket, "far");
        },
        refused: (why, story) => events.turnedAway("responder", why, story),
      },
    );
    bound.tls = scope.use(entrance).port;
  }
  return {
    ready: { ports: bound, splice: engine.name, curve: curve !== undefined },
    stopping: () => ({ peers: circuits.open }),
    broken: Promise.race([responder?.over, publisher?.over].filter((over) => over !== undefined)),
  };
}

function portSettings(settings: ZeromqSettings, name: PortName, stage: Stage) {
  const host = name === "internal" ? settings.internal_host : settings.host;
  const port = portsOf(settings.proxy_ports)?.[name] ?? 0;
  const where = { bind: formatEndpoint({ host, port }), setting: `zeromq: proxy_ports: ${name}` };
  return Object.defineProperties(door(settings, where, stage), {
    peers_max: { get: () => settings.limits.peers_max },
    peers_per_source_max: { get: () => settings.limits.peers_per_source_max },
  }) as ReturnType<typeof door> & { peers_max: number; peers_per_source_max: number };
}

function socketLimits(settings: ZeromqSettings): SocketLimits {
  const { high_water_mark, message_max, limits } = settings;
  return {
    high_water_mark,
    message_max,
    heartbeat_ms: settings.heartbeat_interval * 1_000,
    heartbeat_timeout_ms: settings.heartbeat_timeout * 1_000,
    handshake_timeout_ms: limits.hello_timeout * 1_000,
    drain_timeout_ms: limits.drain_timeout * 1_000,
  };
}

/** Who a switch is, if it is to be anybody: the key in the file. */
export async function readCurve({ curve }: ZeromqSettings): Promise<Curve | undefined> {
  if (!curve) return undefined;
  const { secret_key_file: file, client_keys } = curve;
  const text = await readFile(file, "utf8").catch((cause) => {
    throw new Fault("settings", `zeromq: curve: cannot read ${file}: ${cause.code}`);
  });
  const secret_key = text.trim();
  if (isCurveKey(secret_key)) return { secret_key, asks: client_keys.length > 0 };
  const message = `zeromq: curve: ${file} holds no secret key: 40 characters of Z85, in one line`;
  throw new Fault("settings", message);
}
