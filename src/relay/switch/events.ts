import { Counter } from "prom-client";
import type { Log } from "../../core/log.ts";
import type { Metrics } from "../../core/metrics.ts";

/** Between messages of the log about the same kind of loss. */
const TELL_EVERY_MS = 10_000;
const SHOWN_MAX = 100;

type Switch = "responder" | "publisher";

/**
 * Why a message did not arrive: nobody has that name, or whoever has it reads too slowly; it has too
 * few frames; or it says that it comes from one of this machine, and comes from elsewhere.
 */
type Loss = "unknown" | "full" | "malformed" | "forbidden";

const LOSSES = ["unknown", "full", "malformed", "forbidden"] as const satisfies Loss[];

/** What a switch does with messages: counted each, and losses logged now and then. Never throws. */
export class SwitchEvents {
  readonly #log: Log;
  /** Plain numbers, for they change with every message. */
  readonly #moved = {
    responder: { messages: 0, bytes: 0 },
    publisher: { messages: 0, bytes: 0 },
  };
  readonly #lost: Counter<"switch" | "why">;
  readonly #told = new Map<string, { at: number; since: number }>();

  constructor({ log, metrics }: { log: Log; metrics: Metrics }) {
    this.#log = log;
    const registers = [metrics];
    const moved = this.#moved;
    new Counter({
      name: "eps_broker_switch_messages_total",
      help: "ZeroMQ messages that were passed on",
      labelNames: ["switch"],
      registers,
      collect() {
        this.reset();
        for (const [which, { messages }] of Object.entries(moved))
          this.inc({ switch: which }, messages);
      },
    });
    new Counter({
      name: "eps_broker_switch_bytes_total",
      help: "Bytes of the ZeroMQ messages that were passed on",
      labelNames: ["switch"],
      registers,
      collect() {
        this.reset();
        for (const [which, { bytes }] of Object.entries(moved)) this.inc({ switch: which }, bytes);
      },
    });
    this.#lost = new Counter({
      name: "eps_broker_switch_lost_total",
      help: "ZeroMQ messages that did not arrive, or at a publisher not everywhere, by the reason",
      labelNames: ["switch", "why"],
      registers,
    });
    for (const why of LOSSES) this.#lost.inc({ switch: "responder", why }, 0);
    this.#lost.inc({ switch: "publisher", why: "full" }, 0);
  }

  passed(which: Switch, frames: readonly Buffer[]): void {
    const moved = this.#moved[which];
    moved.messages += 1;
    for (const { length } of frames) moved.bytes += length;
  }

  /** `to` is whom it was for, or its topic. */
  lost(which: Switch, why: Loss, to: Buffer | undefined): void {
    this.#lost.inc({ switch: which, why });
    const told = this.#told.get(`${which} ${why}`) ?? { at: -Infinity, since: 0 };
    told.since += 1;
    this.#told.set(`${which} ${why}`, told);
    const now = performance.now();
    if (now - told.at < TELL_EVERY_MS) return;
    const times = told.since;
    this.#told.set(`${which} ${why}`, { at: now, since: 0 });
    // Late responders are asked for again and again until they come; that is no trouble.
    const level = why === "unknown" || why === "malformed" ? "info" : "warn";
    const story = { switch: which, why, times, to: to && shown(to) };
    this.#log[level](story, `messages lost${CURE[why]}`);
  }
}

const CURE: Record<Loss, string> = {
  unknown: "",
  full: ": a peer reads too slowly; raise high_water_mark if this is normal",
  malformed: "",
  forbidden: ": somebody elsewhere calls itself as only peers of this machine may",
};

/** A name as far as it can be printed: those that a ROUTER gives are no text. */
function shown(name: Buffer): string {
  const text = name.subarray(0, SHOWN_MAX).toString("latin1");
  return /^[\x20-\x7e]*$/.test(text) ? text : name.subarray(0, SHOWN_MAX).toString("hex");
}
