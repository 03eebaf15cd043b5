import Fastify from "fastify";
import { collectDefaultMetrics } from "prom-client";
import type { Metrics } from "../core/metrics.ts";
import { bindFault, bindOptions, type Listener } from "../net/listen.ts";

/**
 * Serves what this process uses (CPU, memory, descriptors, event loop) in Prometheus' text form, on
 * every path as the original does (eps-protocol 10.2). Plain HTTP: bind it where only you can reach it.
 */
export async function openMetricsServer(
  { bind_address }: { bind_address: string },
  { metrics }: { metrics: Metrics },
): Promise<Listener> {
  collectDefaultMetrics({ register: metrics });
  const app = Fastify({ logger: false, forceCloseConnections: true });
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
