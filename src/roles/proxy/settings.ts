import { z } from "zod";
import { live } from "../../core/settings/live.ts";
import {
  defaultsOf,
  defaultTo,
  endpoint,
  optional,
  seconds,
  text,
  wholeNumber,
} from "../../core/settings/shapes.ts";
import { TcpRateLimits, TlsSettings } from "../../net/settings.ts";
import { ENGINES } from "../../relay/engine.ts";
import { JsonrpcClientSettings, JsonrpcServerSettings } from "../../rpc/settings.ts";
import { DatastoreSettings } from "../../store/settings.ts";

/** Ours. */
const SpliceChoice = defaultTo("auto", z.enum(ENGINES));

const COUNT_MAX = 1_000_000;
const WAIT_MAX_S = 3_000;

/** How much a public proxy takes on. Ours; the original knows no limits. */
const ProxyLimits = z.strictObject({
  /** Relayed byte paths open at once. */
  circuits_max: defaultTo(10_000, wholeNumber(1, COUNT_MAX)),
  /** Pairs of tokens that wait for somebody to show them, in all and for one caller. */
  pending_max: defaultTo(10_000, wholeNumber(1, COUNT_MAX)),
  pending_per_caller_max: defaultTo(1_000, wholeNumber(1, COUNT_MAX)),
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

export const ProxySettings = z.strictObject({
  metrics: optional(z.strictObject({ bind_address: endpoint })),
  public: optional(PublicProxySettings),
  private: optional(PrivateProxySettings),
});
export type ProxySettings = z.infer<typeof ProxySettings>;
