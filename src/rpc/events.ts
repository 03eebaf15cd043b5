import { Counter, Histogram } from "prom-client";
import type { Log } from "../core/log.ts";
import { type Metrics, WAIT_BOUNDS } from "../core/metrics.ts";

/** Who listens: for services, for endpoints, as a directory, for the endpoint beside a proxy, for TLS clients, for whoever runs pools. */
export type ListenerName = "gateway" | "grpc" | "sd" | "proxy" | "target" | "control";

/** What happens at the listeners of a program: counted with few labels, logged with many fields. Never throws. */
export class RpcEvents {
  readonly #log: Log;
  readonly #requests: Counter<"listener" | "status">;
  readonly #took: Histogram<"listener">;
  readonly #handshakes: Histogram<"listener">;
  readonly #failures: Counter<"listener">;

  constructor({ log, metrics }: { log: Log; metrics: Metrics }) {
    this.#log = log;
    const registers = [metrics];
    const labelNames = ["listener"] as const;
    const buckets = WAIT_BOUNDS;
    this.#requests = new Counter({
      name: "eps_broker_jsonrpc_requests_total",
      help: "JSON-RPC requests that were answered, by the class of the HTTP status",
      labelNames: ["listener", "status"],
      registers,
    });
    this.#took = new Histogram({
      name: "eps_broker_jsonrpc_request_duration_seconds",
      help: "How long JSON-RPC requests took to be answered",
      buckets,
      labelNames,
      registers,
    });
    this.#handshakes = new Histogram({
      name: "eps_broker_tls_handshake_duration_seconds",
      help: "How long TLS handshakes took that succeeded",
      buckets,
      labelNames,
      registers,
    });
    this.#failures = new Counter({
      name: "eps_broker_tls_handshake_failures_total",
      help: "TLS handshakes that failed, also because of the certificate that was or was not shown",
      labelNames,
      registers,
    });
  }

  /** An answer is out. `status` is that of HTTP. */
  answered(listener: ListenerName, status: number, took_ms: number): void {
    this.#requests.inc({ listener, status: `${Math.floor(status / 100)}xx` });
    this.#took.observe({ listener }, took_ms / 1_000);
  }

  secured(listener: ListenerName, took_ms: number): void {
    this.#handshakes.observe({ listener }, took_ms / 1_000);
  }

  handshakeFailed(listener: ListenerName, reason: string): void {
    this.#failures.inc({ listener });
    const level = listener === "target" ? "info" : "debug";
    this.#log[level]({ listener, reason }, "a TLS handshake failed");
  }
}
