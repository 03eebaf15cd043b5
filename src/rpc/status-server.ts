import Fastify from "fastify";
import { collectDefaultMetrics } from "prom-client";
import type { Metrics } from "../core/metrics.ts";
import { bindFault, bindOptions, type Listener } from "../net/listen.ts";
import type { Readiness } from "./readiness.ts";

const REQUEST_MS = 10_000;
const BODY_MAX = 1_024;

/**
 * Tells how this program is: `/healthz` (the process lives), `/readyz` (a call would succeed now, or 503
 * and why not), and on `/metrics`, as the original does on every other path too (eps-protocol 10.2), what
 * it counts and uses, in Prometheus' text form. Plain HTTP: bind it where only you can reach it.
 *
 * It is opened first and closed last, so that it can tell of starting and stopping.
 */
export async function openStatusServer(
  { bind_address }: { bind_address: string },
  { metrics, readiness }: { metrics: Metrics; readiness: Readiness },
): Promise<Listener> {
  collectDefaultMetrics({ register: metrics });
  const app = Fastify({
    logger: false,
    forceCloseConnections: true,
    requestTimeout: REQUEST_MS,
    bodyLimit: BODY_MAX,
  });
  app.addHook("onSend", async (_, reply) => void reply.header("cache-control", "no-store"));
  app.get("/healthz", async () => ({ alive: true }));
  app.get("/readyz", async (_, reply) => {
    const report = await readiness.report();
    return reply.code(report.ready ? 200 : 503).send(report);
  });
  app.get("/*", async (_, reply) => {
    return reply.header("content-type", metrics.contentType).send(await metrics.metrics());
  });
  const { host = "::", port } = bindOptions(bind_address);
  try {
    await app.listen({ host, port });
  } catch (cause) {
    throw bindFault(bind_address, "metrics: bind_address", cause);
  }
  return {
    port: (app.server.address() as { port: number }).port,
    [Symbol.asyncDispose]: () => app.close(),
  };
}
