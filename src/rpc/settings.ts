import * as z from "zod";
import { live } from "../core/settings/live.ts";
import {
  defaultTo,
  endpoint,
  optional,
  pattern,
  seconds,
  webAddress,
  wholeNumber,
} from "../core/settings/shapes.ts";
import { TcpRateLimits, TlsSettings } from "../net/settings.ts";

const METHODS = ["GET", "POST", "PATCH", "PUT", "DELETE", "OPTIONS"] as const;
const BODY_MAX = 4 * 1024 * 1024;
const COUNT_MAX = 1_000_000;

/** Which web pages may call us (eps-protocol 5.4). */
export const CorsSettings = z.strictObject({
  /** Matched anywhere in the Origin header, so anchor them. */
  allowed_hosts: defaultTo([], z.array(pattern)),
  allowed_headers: defaultTo([], z.array(z.string())),
  allowed_methods: defaultTo([...METHODS], z.array(z.enum(METHODS))),
});
export type CorsSettings = z.infer<typeof CorsSettings>;

export const JsonrpcServerSettings = z.strictObject({
  bind_address: endpoint,
  /** A regular expression for the whole path. */
  path: defaultTo("/jsonrpc", pattern),
  cors: live(optional(CorsSettings)),
  tcp_rate_limits: live(optional(TcpRateLimits)),
  /** Without it: plain HTTP. */
  tls: optional(TlsSettings),
  /** Bytes. Ours; the original reads whatever comes. */
  body_max: defaultTo(BODY_MAX, wholeNumber(1, 1024 ** 3)),
  /** Open connections, in all and from one source. Ours, as are the rest. */
  connections_max: defaultTo(10_000, wholeNumber(1, COUNT_MAX)),
  connections_per_source_max: defaultTo(1_000, wholeNumber(1, COUNT_MAX)),
  /** How long a request may take to arrive whole, and its answer to be taken. */
  request_timeout: defaultTo(60, seconds(0.1, 3_600)),
  /** How long a connection may be open without a request under way. */
  idle_timeout: defaultTo(75, seconds(0.1, 3_600)),
});
export type JsonrpcServerSettings = z.infer<typeof JsonrpcServerSettings>;

export const JsonrpcClientSettings = z.strictObject({
  /** Left out where somebody else knows it: an api directory has its own `endpoints`. */
  endpoint: optional(webAddress),
  proxy_url: optional(webAddress),
  /** Accepted because the original's files carry it; it has never meant anything. */
  local: defaultTo(true, z.boolean()),
  /** Without it: the system's certificate authorities. */
  tls: optional(TlsSettings),
});
export type JsonrpcClientSettings = z.infer<typeof JsonrpcClientSettings>;
