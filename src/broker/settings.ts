import * as z from "zod";
import { live } from "../core/settings/live.ts";
import { defaultTo, endpoint, optional, rule, text, wholeNumber } from "../core/settings/shapes.ts";
import { TcpRateLimits, TlsSettings } from "../net/settings.ts";
import { JsonrpcClientSettings, JsonrpcServerSettings } from "../rpc/settings.ts";

const COUNT_MAX = 1_000_000;

export const GrpcServerSettings = z.strictObject({
  bind_address: defaultTo("localhost:4444", endpoint),
  tcp_rate_limits: live(optional(TcpRateLimits)),
  /** Open connections, in all and from one source. Ours. */
  connections_max: defaultTo(10_000, wholeNumber(1, COUNT_MAX)),
  connections_per_source_max: defaultTo(1_000, wholeNumber(1, COUNT_MAX)),
  tls: TlsSettings,
});
export type GrpcServerSettings = z.infer<typeof GrpcServerSettings>;

export const GatewaySettings = JsonrpcServerSettings.extend({
  /** Operators whose certificates may hand in calls besides our own; "*" is any certificate. Ours. */
  allowed_clients: defaultTo([], z.array(text)),
}).check(
  rule((value, complain) => {
    const { tls, allowed_clients } = value as { tls?: { verify_client?: unknown } | null } & Record<
      string,
      unknown
    >;
    const verified = tls && tls.verify_client !== false;
    if (Array.isArray(allowed_clients) && allowed_clients.length > 0 && !verified) {
      complain(
        ["allowed_clients"],
        "needs tls with verify_client: without it nobody proves who is calling",
      );
    }
  }),
);
export type GatewaySettings = z.infer<typeof GatewaySettings>;

/** Original servers hang up on a connection after 60 s without calls. */
const IDLE_MAX = 55;
/** A server of ours lets a connection have 1,000 calls open, and a reverse stream is one of them. */
const CALLS_MAX = 990;

const IDLE_EXPECTED = `expected seconds, a number from 0.1 to ${IDLE_MAX}: original servers hang up after 60`;

/** Calls to one place that wait for one under way to end. Ours. */
const waiting_max = live(defaultTo(1_000, wholeNumber(0, COUNT_MAX)));

export const GrpcClientSettings = z.strictObject({
  /** Whether operators behind a proxy may be reached through it. */
  useProxy: live(defaultTo(true, z.boolean())),
  /** How long a connection to an operator is kept without a call. Ours, as are the rest. */
  idle_timeout: live(
    defaultTo(
      50,
      z.number(IDLE_EXPECTED).refine((n) => n >= 0.1 && n <= IDLE_MAX, IDLE_EXPECTED),
    ),
  ),
  /** Calls to one operator that may be under way. */
  calls_max: live(defaultTo(500, wholeNumber(1, CALLS_MAX))),
  waiting_max,
  tls: TlsSettings,
});
export type GrpcClientSettings = z.infer<typeof GrpcClientSettings>;

export const ServiceSettings = JsonrpcClientSettings.extend({
  /** Calls that the service may have to answer at once. Ours. */
  calls_max: live(defaultTo(1_000, wholeNumber(1, COUNT_MAX))),
  waiting_max,
});
export type ServiceSettings = z.infer<typeof ServiceSettings>;

/** A way calls enter or leave an endpoint (eps-protocol 2.3). `name` is for the log. */
const ChannelSettings = z.discriminatedUnion("type", [
  channel("grpc_server", GrpcServerSettings),
  channel("grpc_client", GrpcClientSettings),
  channel("jsonrpc_server", GatewaySettings),
  channel("jsonrpc_client", ServiceSettings),
  channel("stdout", z.strictObject({})),
]);

function channel<T extends string, S extends z.ZodType>(type: T, settings: S) {
  return z.strictObject({ name: z.string(), type: z.literal(type), settings });
}

/** In the order in which they are asked. Lists from several folders add up, hence the rule. */
export const ChannelsSettings = z.array(ChannelSettings).check(
  rule((value, complain) => {
    if (!Array.isArray(value)) return;
    const types = value.map((each: { type?: unknown } | null) => each?.type);
    for (const [index, type] of types.entries()) {
      if (typeof type === "string" && types.indexOf(type) < index) {
        complain(
          [index, "type"],
          `is the second channel of type ${type}, and there may be only one of a type`,
        );
      }
    }
  }),
);
