import { Histogram } from "prom-client";
import { FAULTS, Fault } from "../core/fault.ts";
import type { Log } from "../core/log.ts";
import { type Metrics, WAIT_BOUNDS, watch } from "../core/metrics.ts";
import type { Address } from "../wire/address.ts";
import type { Answer } from "../wire/answer.ts";
import { requestOf } from "../wire/call-id.ts";
import { isObject } from "../wire/json.ts";

/** Names come from strangers, who may make them as long as a message. */
const NAME_MAX = 200;

type Called = { readonly address: Address; readonly caller: string };
type Labels = "channel" | "outcome";

/** How a call ended: with a result, with an error of the service that was called, or with a fault. */
type Outcome = "ok" | "declined" | keyof typeof FAULTS;

/** Tells of calls: one line for each in the log, and in the metrics how many, how they ended and how fast. */
export class BrokerEvents {
  readonly #log: Log;
  readonly #metrics: Metrics;
  readonly #seconds: Histogram<Labels>;

  constructor({ log, metrics }: { log: Log; metrics: Metrics }) {
    this.#log = log;
    this.#metrics = metrics;
    this.#seconds = new Histogram({
      name: "eps_broker_call_duration_seconds",
      help: "Calls that ended here, by the channel that carried them and by how they ended",
      labelNames: ["channel", "outcome"],
      buckets: WAIT_BOUNDS,
      registers: [metrics],
    });
  }

  /** Lets the numbers of reverse streams be seen: those that we keep, and those that others keep here. */
  watchStreams({ kept, accepted }: { kept: () => number; accepted: () => number }): void {
    const ours = "Reverse streams that we keep to operators who could not dial us, open now";
    watch(this.#metrics, "eps_broker_reverse_streams_kept", ours, kept);
    const theirs = "Operators that keep a reverse stream to us";
    watch(this.#metrics, "eps_broker_reverse_streams_accepted", theirs, accepted);
  }

  /** Lets the calls be seen that wait for their turn: to other operators, and to the service behind us. */
  watchWaiting({ peers, service }: { peers: () => number; service: () => number }): void {
    const out = "Calls that wait because too many are under way to their operator";
    watch(this.#metrics, "eps_broker_calls_waiting_for_peers", out, peers);
    const own = "Calls that wait because too many are under way to the service behind us";
    watch(this.#metrics, "eps_broker_calls_waiting_for_service", own, service);
  }

  /** A call was sent and nothing came back: its connection broke, or its time was up. */
  unanswered(address: Address): void {
    this.#log.info(named(address), "call unanswered, asking what became of it");
  }

  /** A call begins. Whoever carries it out says by which channel, and how it ended. */
  call({ address, caller }: Called): CallStory {
    const begun = performance.now();
    return new CallStory((channel, outcome) => {
      const ms = performance.now() - begun;
      this.#seconds.observe({ channel, outcome }, ms / 1_000);
      const rounded = Math.round(ms * 100) / 100;
      this.#log.info({ ...named(address), caller, channel, outcome, ms: rounded }, "call");
    });
  }
}

/** What a call is called in the log: the request it belongs to, which all its hops know, and what it asks. */
function named({ operator, method, call }: Address): { request: string; call: string } {
  return {
    request: requestOf(call) ?? call.slice(0, NAME_MAX),
    call: `${operator}.${method}`.slice(0, NAME_MAX),
  };
}

export class CallStory {
  /** The type of the channel that carries the call; `none` as long as there is none. */
  channel = "none";
  readonly #tell: (channel: string, outcome: Outcome) => void;

  constructor(tell: (channel: string, outcome: Outcome) => void) {
    this.#tell = tell;
  }

  answered(answer: Answer | undefined): void {
    this.#tell(this.channel, answer && "error" in answer ? outcomeOf(answer.error.data) : "ok");
  }

  failed(reason: unknown): void {
    this.#tell(this.channel, Fault.from(reason).fault);
  }
}

/** Our own error answers carry the name of the fault. */
function outcomeOf(data: unknown): Outcome {
  const fault = isObject(data) ? data["fault"] : undefined;
  return typeof fault === "string" && Object.hasOwn(FAULTS, fault)
    ? (fault as Outcome)
    : "declined";
}
