import type { Entry } from "../directory/entry.ts";
import type { Address } from "../wire/address.ts";
import type { Answer } from "../wire/answer.ts";
import type { JsonObject } from "../wire/json.ts";
import type { Timings } from "./timings.ts";

/** Who asks: the operator on the other side of the connection that the call came by, or ourselves. */
type Caller = {
  readonly name: string;
  readonly entry: Entry;
  /** Who of them, where that is known: each has a turn of its own where calls have to wait. */
  readonly source: string;
};

/** A call on its way. `params` carries `_client`, the caller as this endpoint knows it. */
export type Call = {
  readonly address: Address;
  readonly params: JsonObject;
  readonly caller: Caller;
  /** A channel adds what it knows. */
  readonly timings: Timings;
};

/** A way by which calls leave this endpoint: to another operator, or to the service behind this one. */
export interface Channel {
  readonly type: string;
  /** Could this channel carry a call to that operator? Answers from memory and never throws. */
  reaches(operator: string): boolean;
  /**
   * Brings back the other side's answer, even an error answer; undefined if the call was taken
   * without one. Throws a fault if the call could not be delivered or nobody answered.
   */
  deliver(call: Call, signal: AbortSignal): Promise<Answer | undefined>;
}
