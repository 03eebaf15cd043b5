import type { FastifyReply, FastifyRequest } from "fastify";
import { expressionOf } from "../../core/settings/shapes.ts";
import type { CorsSettings } from "../settings.ts";

const MAX_AGE_S = 60;

/**
 * Tells a browser what pages of an allowed origin may do (eps-protocol 5.4). True if the request was
 * only the browser's question, so that nothing is left to do but to send the reply.
 */
export function allowOrigins(
  cors: CorsSettings,
  request: FastifyRequest,
  reply: FastifyReply,
): boolean {
  const { origin } = request.headers;
  if (!origin || !cors.allowed_hosts.some((host) => expressionOf(host).test(origin))) return false;
  const asked = `${request.headers["access-control-request-headers"] ?? ""}`.split(",");
  const headers = [...asked, ...cors.allowed_headers].map((name) => name.trim().toLowerCase());
  reply
    .header("access-control-allow-origin", origin)
    .header("vary", "origin")
    .header("access-control-max-age", MAX_AGE_S)
    .header("access-control-allow-headers", [...new Set(headers)].filter(Boolean).join(", "))
    .header("access-control-allow-methods", cors.allowed_methods.join(", "));
  return request.method === "OPTIONS";
}
