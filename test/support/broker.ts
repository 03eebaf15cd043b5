import { Broker } from "../../src/broker/broker.ts";
import { BrokerEvents } from "../../src/broker/events.ts";
import { silent } from "../../src/core/log.ts";
import { openMetrics } from "../../src/core/metrics.ts";
import type { Directory } from "../../src/directory/directory.ts";

const TIMES = { call_timeout_ms: 60_000, respond_timeout_ms: 60_000 };

/** hd-2's broker, which tells nobody what happens. */
export function hd2Broker(directory: Directory, times: Partial<typeof TIMES> = {}): Broker {
  const events = new BrokerEvents({ log: silent, metrics: openMetrics() });
  return new Broker({ self: "hd-2", ...TIMES, ...times }, { directory, events });
}
