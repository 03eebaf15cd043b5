import { z } from "zod";
import { live } from "../core/settings/live.ts";
import { defaultTo, endpoint, optional, rule } from "../core/settings/shapes.ts";
import { TcpRateLimits, TlsSettings } from "../net/settings.ts";
import { JsonrpcClientSettings, JsonrpcServerSettings } from "../rpc/settings.ts";

export const GrpcServerSettings = z.strictObject({
  bind_address: defaultTo("localhost:4444", endpoint),
  tcp_rate_limits: live(optional(TcpRateLimits)),
  tls: TlsSettings,
});
export type GrpcServerSettings = z.infer<typeof GrpcServerSettings>;

export const GrpcClientSettings = z.strictObject({
  /** Whether operators behind a proxy may be reached through it. */
  useProxy: live(defaultTo(true, z.boolean())),
  tls: TlsSettings,
});
export type GrpcClientSettings = z.infer<typeof GrpcClientSettings>;

/** A way calls enter or leave an endpoint (eps-protocol 2.3). `name` is for the log. */
const ChannelSettings = z.discriminatedUnion("type", [
  channel("grpc_server", GrpcServerSettings),
  channel("grpc_client", GrpcClientSettings),
  channel("jsonrpc_server", JsonrpcServerSettings),
  channel("jsonrpc_client", JsonrpcClientSettings),
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
