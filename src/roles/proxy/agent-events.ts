import { Counter, Gauge } from "prom-client";
import type { Log } from "../../core/log.ts";
import type { Metrics } from "../../core/metrics.ts";
import type { AgentEvents } from "../../relay/agent/agent.ts";

/** What happens to an agent's connections, counted and logged. */
export function agentEvents(
  relay: string,
  { log, metrics }: { log: Log; metrics: Metrics },
): AgentEvents {
  const over = new Counter({
    name: "eps_broker_agent_connections_total",
    help: "Connections to the relay that are over: unused, done, broken, or failed by the server here",
    labelNames: ["why"],
    registers: [metrics],
  });
  return {
    ready: () => log.info({ relay }, "waiting for clients"),
    opened: (session) => log.info({ session }, "client came"),
    closed: (closing) => {
      const { why } = closing;
      over.inc({ why });
      log[why === "failed" ? "warn" : why === "unused" ? "debug" : "info"](
        closing,
        "connection over",
      );
    },
    troubled: (reason) => log.warn({ reason }, "not as it should be, and tried again"),
  };
}

/** Lets it be seen how many connections there are, and what for. */
export function watchAgent(
  metrics: Metrics,
  agent: { readonly count: Record<"used" | "waiting" | "dialling", number> },
): void {
  new Gauge({
    name: "eps_broker_agent_connections",
    help: "Connections to the relay: in use, waiting for a client, being made",
    labelNames: ["state"],
    registers: [metrics],
    collect() {
      for (const [state, count] of Object.entries(agent.count)) this.set({ state }, count);
    },
  });
}
