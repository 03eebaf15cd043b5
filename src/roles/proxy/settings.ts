import * as z from "zod";
import { Fault } from "../../core/fault.ts";
import { live } from "../../core/settings/live.ts";
import {
  defaultsOf,
  defaultTo,
  endpoint,
  optional,
  rule,
  seconds,
  text,
  wholeNumber,
} from "../../core/settings/shapes.ts";
import { TcpRateLimits, TlsSettings } from "../../net/settings.ts";
import { ENGINES } from "../../relay/engine.ts";
import { POLICIES } from "../../relay/rendezvous/policy.ts";
import { WestSettings } from "../../relay/west/settings.ts";
import { JsonrpcClientSettings, JsonrpcServerSettings } from "../../rpc/settings.ts";
import { DatastoreSettings } from "../../store/settings.ts";
import { formatEndpoint } from "../../wire/endpoint.ts";
import { checkShared, isOnePort, portsOf } from "./doors.ts";

/** Ours. */
const SpliceChoice = defaultTo("auto", z.enum(ENGINES));

const COUNT_MAX = 1_000_000;
const WAIT_MAX_S = 3_000;

/** What everybody who relays limits. Ours; the originals know no limits. */
const RelayLimits = {
  /** Relayed byte paths open at once. */
  circuits_max: defaultTo(10_000, wholeNumber(1, COUNT_MAX)),
  /** Connections that have not said yet what they want, in all and from one source. */
  strangers_max: defaultTo(4_096, wholeNumber(1, COUNT_MAX)),
  strangers_per_source_max: defaultTo(256, wholeNumber(1, COUNT_MAX)),
  hello_timeout: defaultTo(5, seconds(0.1, 60)),
  /** A circuit that has carried nothing for so long is closed. */
  idle_timeout: defaultTo(3_600, seconds(1, 7 * 24 * 3_600)),
  /** What one circuit may carry (bytes, both ways together) and how long it may last; 0 is no limit. */
  circuit_bytes_max: defaultTo(0, wholeNumber(0, Number.MAX_SAFE_INTEGER)),
  circuit_duration_max: defaultTo(0, seconds(0, 365 * 24 * 3_600)),
  /** How long open circuits may go on when the proxy is asked to leave. */
  drain_timeout: defaultTo(5, seconds(0, 3_600)),
};

/** How much a public proxy takes on. */
const ProxyLimits = z.strictObject({
  ...RelayLimits,
  /** Pairs of tokens that wait for somebody to show them, in all and for one caller. */
  pending_max: defaultTo(10_000, wholeNumber(1, COUNT_MAX)),
  pending_per_caller_max: defaultTo(1_000, wholeNumber(1, COUNT_MAX)),
});

const PoolLimits = z.strictObject({
  ...RelayLimits,
  /** Connections that wait for a client, in all and of one agent, and command channels. */
  offers_max: defaultTo(10_000, wholeNumber(1, COUNT_MAX)),
  offers_per_agent_max: defaultTo(1_000, wholeNumber(1, COUNT_MAX)),
  listeners_max: defaultTo(1_000, wholeNumber(1, COUNT_MAX)),
});

/** The proxy that strangers reach (eps-protocol 2.7). */
export const PublicProxySettings = z.strictObject({
  /** The operator name of the EPS beside it. */
  name: text,
  datastore: DatastoreSettings,
  tls_bind_address: defaultTo("localhost:443", endpoint),
  internal_bind_address: defaultTo("localhost:9999", endpoint),
  /** What peers are told to dial in order to reach `internal_bind_address`. */
  internal_endpoint: defaultTo("localhost:9999", endpoint),
  jsonrpc_client: JsonrpcClientSettings,
  jsonrpc_server: JsonrpcServerSettings,
  accept_timeout: live(defaultTo(10, seconds(0.1, WAIT_MAX_S))),
  tcp_rate_limits: live(optional(TcpRateLimits)),
  /** How bytes get from one connection to the other: by the kernel (Linux), by streams, or as is best here. */
  splice: SpliceChoice,
  limits: live(defaultsOf(ProxyLimits)),
});
export type PublicProxySettings = z.infer<typeof PublicProxySettings>;

/** The proxy inside an organisation, which dials out to the public one. */
const PrivateProxySettings = z.strictObject({
  name: text,
  datastore: DatastoreSettings,
  jsonrpc_client: JsonrpcClientSettings,
  jsonrpc_server: JsonrpcServerSettings,
  splice: SpliceChoice,
  /** How often public proxies are told everything again. Ours; the original does it every 10 minutes. */
  announce_again: defaultTo(60, seconds(1, 3_600)),
  /** The service behind it. */
  internal_endpoint: z.strictObject({
    address: defaultTo("localhost:8888", endpoint),
    /** With it we end TLS here and forward requests; without it bytes pass untouched. */
    tls: optional(TlsSettings),
    jsonrpc_client: optional(JsonrpcClientSettings),
    jsonrpc_path: defaultTo("/jsonrpc", z.string()),
    timeout: defaultTo(30, seconds(0.1, WAIT_MAX_S)),
  }),
});
export type PrivateProxySettings = z.infer<typeof PrivateProxySettings>;

/** Where a pool listens, by the names that its settings have before `_bind_address`. */
export const POOL_PORTS = ["data", "command", "worker", "client"] as const;

/** How clients of a pool are let in: whoever comes, or ZeroMQ clients with CURVE that have greeted. */
const GATES = ["none", "curve"] as const;

/** A relay at which servers keep connections waiting, and each client is given one. */
const PoolSettings = z.strictObject({
  /** What agents ask for that serve this pool; it is a label of metrics too. */
  name: text,
  /** Connections that wait, those who hear what becomes of them, and clients. */
  data_bind_address: defaultTo("localhost:8000", endpoint),
  command_bind_address: defaultTo("localhost:8001", endpoint),
  client_bind_address: defaultTo("localhost:8002", endpoint),
  /** Servers that dial in without an agent, as ZeroMQ workers do. Whoever can dial it may serve. */
  worker_bind_address: optional(endpoint),
  /** With it agents come in by TLS; clients and workers never do. */
  tls: optional(TlsSettings),
  /** What lets an agent in, here or in a file, one a line. Without any everybody may serve. */
  tokens: defaultTo([], z.array(text)),
  tokens_file: optional(text),
  gate: defaultTo("none", z.enum(GATES)),
  /** At a gate: how long a handshake may take, and when a source has to wait that fails at it. */
  handshake_timeout: live(defaultTo(30, seconds(0.1, 3_600))),
  handshake_failures_max: live(defaultTo(10, wholeNumber(1, COUNT_MAX))),
  ban: live(defaultTo(10, seconds(0, 3_600))),
  /** How one of those that wait is chosen. */
  policies: live(defaultTo(["fifo"], z.array(z.enum(POLICIES)).min(1))),
  /** Clients that may wait while nothing waits for them, in all and of one source, and how long. */
  queue_max: live(defaultTo(100, wholeNumber(0, COUNT_MAX))),
  queue_per_source_max: live(defaultTo(100, wholeNumber(1, COUNT_MAX))),
  queue_timeout: live(defaultTo(10, seconds(0.1, WAIT_MAX_S))),
  /** Turns clients away while no agent listens to announcements, as RelayServer does. */
  needs_listener: live(defaultTo(false, z.boolean())),
  /** After so many connections in a row that failed, an agent is passed over for so long. */
  failures_max: live(defaultTo(3, wholeNumber(1, COUNT_MAX))),
  rest: live(defaultTo(10, seconds(0, 3_600))),
  tcp_rate_limits: live(optional(TcpRateLimits)),
  splice: SpliceChoice,
  limits: live(defaultsOf(PoolLimits)),
});
export type PoolSettings = z.infer<typeof PoolSettings>;

/** Pools for those who want no settings: the ports of an ancestor, and its ways. */
const PRESETS = {
  relayserver: {
    ports: { data: 8000, command: 8001, client: 8002 },
    rest: { queue_max: 0, needs_listener: true },
  },
  streamq: {
    ports: { data: 9996, command: 9997, worker: 9998, client: 9999 },
    rest: { gate: "curve", queue_max: 1_024, queue_per_source_max: 1_024, queue_timeout: 25 },
  },
};
export const PRESET_NAMES = Object.keys(PRESETS) as Array<keyof typeof PRESETS>;

/** A preset at a host (an empty one is every interface), with other ports in the order of its own if there are any. */
export function presetPool(
  name: keyof typeof PRESETS,
  { host = "", ports }: { host?: string; ports?: readonly number[] },
): PoolSettings {
  const { ports: own, rest } = PRESETS[name];
  const names = Object.keys(own);
  if (ports && ports.length !== names.length) {
    throw new Fault("settings", `--ports: ${name} has ${names.length}: ${names.join(", ")}`);
  }
  const binds = Object.entries(own).map(([port, number], index) => [
    `${port}_bind_address`,
    formatEndpoint({ host, port: ports?.[index] ?? number }),
  ]);
  return PoolSettings.parse({ name, ...rest, ...Object.fromEntries(binds) });
}

/** Bytes. Hundreds of megabytes are usual where results are sent. */
const MESSAGE_MAX = 256 * 1024 * 1024;
const Z85_KEY = /^[0-9a-zA-Z.:+=^!/*?&<>()[\]{}@%$#-]{40}$/;
const curveKey = z.string().refine(isCurveKey, {
  error: "expected a key of CURVE, 40 characters of Z85",
});

/** How many ZeroMQ peers there may be, and how they come in. */
const SwitchLimits = z.strictObject({
  peers_max: defaultTo(4_096, wholeNumber(1, COUNT_MAX)),
  /** Of peers that are not on this machine. */
  peers_per_source_max: defaultTo(1_024, wholeNumber(1, COUNT_MAX)),
  strangers_max: defaultTo(4_096, wholeNumber(1, COUNT_MAX)),
  strangers_per_source_max: defaultTo(1_024, wholeNumber(1, COUNT_MAX)),
  hello_timeout: defaultTo(5, seconds(0.1, 60)),
  /** How long what is queued may still go out when the proxy is asked to leave. */
  drain_timeout: defaultTo(5, seconds(0, 3_600)),
});

/** Many ZeroMQ applications on this machine, reached by two ports (seed-systems 4). */
export const ZeromqSettings = z
  .strictObject({
    /** As in the original: responders, publishers, and the one where publishers of this machine come in. */
    proxy_ports: z.string().refine((value) => portsOf(value) !== undefined, {
      error: 'expected three ports such as "10000, 10001, 10002"',
    }),
    /** Where the first two listen, an empty one being every interface, and where the third does. */
    host: defaultTo("", z.string()),
    internal_host: defaultTo("localhost", z.string()),
    /** Messages that may wait for one peer, and bytes of one frame. */
    high_water_mark: defaultTo(1_000, wholeNumber(1, COUNT_MAX)),
    message_max: defaultTo(MESSAGE_MAX, wholeNumber(1_024, Number.MAX_SAFE_INTEGER)),
    /** How often a silent peer is asked whether it is there, and how long it may take; 0 is never. */
    heartbeat_interval: defaultTo(10, seconds(0, 3_600)),
    heartbeat_timeout: defaultTo(30, seconds(0.1, 3_600)),
    /** Whoever comes from elsewhere has to know our public key, and to be known if `client_keys` says whom. */
    curve: optional(
      z.strictObject({ secret_key_file: text, client_keys: defaultTo([], z.array(curveKey)) }),
    ),
    /** Both public ports once more, inside TLS. */
    tls_bind_address: optional(endpoint),
    tls: optional(TlsSettings),
    tcp_rate_limits: live(optional(TcpRateLimits)),
    splice: SpliceChoice,
    limits: live(defaultsOf(SwitchLimits)),
  })
  .check(
    rule((value, complain) => {
      const { tls, tls_bind_address, curve, proxy_ports } = value as Record<string, unknown>;
      if (curve && isOnePort(String(proxy_ports))) {
        const why = "peers with CURVE do not say in the clear which of the two they mean";
        complain(["proxy_ports"], `cannot name one port twice: ${why}`);
      }
      if (tls && !tls_bind_address)
        complain(["tls_bind_address"], "is missing: where TLS is spoken");
      if (tls_bind_address && !tls) complain(["tls"], "is missing: who we are at tls_bind_address");
    }),
  );
export type ZeromqSettings = z.infer<typeof ZeromqSettings>;

/** A switch for those who want no settings, but its three ports. */
export function presetZeromq(ports: readonly number[], host = ""): ZeromqSettings {
  if (ports.length === 3) return ZeromqSettings.parse({ proxy_ports: ports.join(), host });
  throw new Fault("settings", "--ports: expected three, such as 10000,10001,10002");
}

/** A key as ZeroMQ writes it. */
export function isCurveKey(value: string): boolean {
  return Z85_KEY.test(value);
}

export const ProxySettings = z
  .strictObject({
    metrics: optional(z.strictObject({ bind_address: endpoint })),
    public: optional(PublicProxySettings),
    private: optional(PrivateProxySettings),
    pools: optional(z.array(PoolSettings).min(1).check(rule(namesDiffer))),
    /** Where pools are listed, suspended and resumed while they run. */
    pools_control: optional(JsonrpcServerSettings),
    /** Web servers published through tunnels, in the words of west's own configuration. */
    west: optional(WestSettings),
    zeromq: optional(ZeromqSettings),
  })
  .superRefine((value, context) =>
    checkShared(value, (path, message) =>
      context.addIssue({ code: "custom", path: [...path], message }),
    ),
  );
export type ProxySettings = z.infer<typeof ProxySettings>;

function namesDiffer(
  value: unknown,
  complain: (path: PropertyKey[], message: string) => void,
): void {
  const names = (value as { name?: unknown }[]).map((pool) => pool?.name);
  for (const [i, name] of names.entries()) {
    if (name && names.indexOf(name) < i) complain([i, "name"], `another pool is ${name} already`);
  }
}
