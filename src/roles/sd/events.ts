import { Counter } from "prom-client";
import { Fault } from "../../core/fault.ts";
import { type Metrics, watch } from "../../core/metrics.ts";
import type { Registry } from "./registry.ts";

/** What happens to a service directory, counted. Never throws. */
export class SdEvents {
  readonly #submitted: Counter<"outcome">;

  constructor({ metrics, registry }: { metrics: Metrics; registry: Registry }) {
    this.#submitted = new Counter({
      name: "eps_broker_sd_submitted_total",
      help: "Batches of records that were submitted: accepted, or the kind of fault why not",
      labelNames: ["outcome"],
      registers: [metrics],
    });
    const records = "Records in force";
    watch(metrics, "eps_broker_sd_records", records, () => registry.ledger.records.length);
    const waiting = "Callers that wait for news";
    watch(metrics, "eps_broker_sd_waiting", waiting, () => registry.waiting);
  }

  accepted(): void {
    this.#submitted.inc({ outcome: "accepted" });
  }

  refused(reason: unknown): void {
    this.#submitted.inc({ outcome: Fault.from(reason).fault });
  }
}
