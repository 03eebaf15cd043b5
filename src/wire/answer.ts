import { FAULTS, Fault } from "../core/fault.ts";
import { isObject, type Json } from "./json.ts";

/** What comes back for a call. An error answer is still an answer: the other side was reached and said no. */
export type Answer = { result: Json } | { error: AnswerError };
export type AnswerError = { code: number; message: string; data?: Json | undefined };

/** Somebody else's error answer, to be passed on exactly as it came. */
export class Declined extends Fault {
  readonly error: AnswerError;

  constructor(error: AnswerError) {
    super("failed", error.message);
    this.error = error;
  }
}

/** The answer that tells of a fault, with the code of the table in `core/fault.ts` unless another is asked for. */
export function faultAnswer(fault: Fault, code: number = FAULTS[fault.fault].jsonrpc): Answer {
  if (fault instanceof Declined) return { error: fault.error };
  const data = { ...fault.detail, fault: fault.fault } as Json;
  return { error: { code, message: fault.message, data } };
}

/** Only objects can cross gRPC, so any other value travels as `{"_": value}` (eps-protocol 4.6). */
export function wrap(value: Json): { [key: string]: Json } {
  return isObject(value) ? value : { _: value };
}

export function unwrap(value: Json): Json {
  return isObject(value) && "_" in value && Object.keys(value).length === 1
    ? (value["_"] as Json)
    : value;
}
