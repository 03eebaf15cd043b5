import type { Fault } from "../../core/fault.ts";
import type { ListenOptions } from "../../net/listen.ts";
import type { RateLimit } from "../../net/rate-limit.ts";
import { Holdings } from "../../net/source.ts";
import type { Refusal } from "../events.ts";

/** Read for each stranger, so that they may change. */
export type AdmissionLimits = {
  readonly hello_timeout_ms: number;
  /** How many may be inside without having said what they want, from one source and in all. */
  readonly strangers_per_source_max: number;
  readonly strangers_max: number;
};

/** What a door limits: besides, how many may come in a while, which is for whoever accepts them to see to. */
export type DoorLimits = AdmissionLimits & {
  readonly rate_limits?: readonly RateLimit[] | undefined;
};

/** Where a door is: `bind` as `listen` takes it, the setting that named it, and its place there if it shares it. */
export type DoorSettings = DoorLimits & Pick<ListenOptions, "bind" | "setting" | "share">;

/** How many may be inside that have not said a word. Counts them until they have left or are no strangers any more. */
export class Admission {
  readonly #limits: AdmissionLimits;
  readonly #perSource: Holdings;
  #inside = 0;

  constructor(limits: AdmissionLimits) {
    this.#limits = limits;
    this.#perSource = new Holdings(limits.strangers_per_source_max);
  }

  /** How many strangers are inside. */
  get inside(): number {
    return this.#inside;
  }

  /** Undefined if the stranger may come in, and then `leave` is due for its source. */
  refuses(source: string): Refusal | undefined {
    const { strangers_max, strangers_per_source_max } = this.#limits;
    if (this.#inside >= strangers_max) return "crowd";
    if (!this.#perSource.take(source, strangers_per_source_max)) return "source_crowd";
    this.#inside += 1;
    return undefined;
  }

  leave(source: string): void {
    this.#inside -= 1;
    this.#perSource.release(source);
  }
}

/** Why a stranger is turned away that came in, and failed to say its hello or asked for what it cannot have. */
export function refusalOf({ fault }: Fault, gone: boolean): Refusal {
  switch (fault) {
    case "timeout":
      return "silent";
    case "not_found":
      return "nameless";
    case "forbidden":
      return "forbidden";
    case "overloaded":
      return "full";
    case "unreachable":
      return "unreachable";
    default:
      return gone ? "gone" : "malformed";
  }
}
