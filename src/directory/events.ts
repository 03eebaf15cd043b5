import { Counter, Gauge } from "prom-client";
import { type Metrics, watch } from "../core/metrics.ts";
import type { Entry } from "./entry.ts";

/** What happens to our copy of the directory, counted. Sources write their log themselves. Never throws. */
export class DirectoryEvents {
  readonly #records: Gauge;
  readonly #operators: Gauge;
  readonly #failures: Counter;
  #read_at = performance.now();

  constructor({ metrics }: { metrics: Metrics }) {
    const registers = [metrics];
    const age = "Seconds since the directory was last read or found unchanged, or since the start";
    watch(
      metrics,
      "eps_broker_directory_age_seconds",
      age,
      () => (performance.now() - this.#read_at) / 1_000,
    );
    this.#records = new Gauge({
      name: "eps_broker_directory_records",
      help: "Records in our copy of the directory",
      registers,
    });
    this.#operators = new Gauge({
      name: "eps_broker_directory_operators",
      help: "Operators that our copy of the directory knows",
      registers,
    });
    this.#failures = new Counter({
      name: "eps_broker_directory_failures_total",
      help: "Attempts to read the directory that failed, or brought what cannot be believed",
      registers,
    });
  }

  /** The directory was read, whether anything was new or not. */
  read(entries: readonly Entry[]): void {
    this.#read_at = performance.now();
    this.#operators.set(entries.length);
    this.#records.set(entries.reduce((sum, { records }) => sum + records.length, 0));
  }

  failed(): void {
    this.#failures.inc();
  }
}
