import { Gauge, Registry } from "prom-client";

/**
 * What one program counts, for Prometheus. Made once beside the log and passed down like it; the
 * `events.ts` of a floor makes its counters in it, once. Names begin with `eps_broker_`, end in their
 * unit, and labels take their values from lists in our source: what a stranger says is never a label.
 */
export type Metrics = Registry;

export function openMetrics(): Metrics {
  return new Registry();
}

/** Bounds of a histogram of short waits, in seconds: a call next door, a slow network, a timeout. */
export const WAIT_BOUNDS = [0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];

/** A number that is read whenever somebody looks. */
export function watch(metrics: Metrics, name: string, help: string, read: () => number): void {
  new Gauge({
    name,
    help,
    registers: [metrics],
    collect() {
      this.set(read());
    },
  });
}
