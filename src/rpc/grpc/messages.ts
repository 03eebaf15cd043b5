import {
  loadPackageDefinition,
  type MethodDefinition,
  type ServiceClientConstructor,
} from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import protobuf from "protobufjs";
import { Fault } from "../../core/fault.ts";
import { packageFile } from "../../core/package.ts";
import { type Answer, unwrap, wrap } from "../../wire/answer.ts";
import { DEPTH_MAX } from "../../wire/json.ts";
import { fromStruct, type Struct, toStruct } from "../../wire/struct.ts";
import { MESSAGE_MAX } from "./limits.ts";

/** The messages of `proto/eps.proto` as proto-loader shows them: a message that is absent is null. */
export type WireRequest = { method: string; params: Struct | null; id: string; clientName: string };
export type WireResponse = { id: string; result?: Struct | null; error?: WireError | null };
type WireError = { code: number; message: string; data?: Struct | null };

/**
 * A level of JSON is two messages inside each other (Struct and Value), and protobufjs stops at 100
 * of them unless told otherwise, far below the levels that we promise.
 */
const { util, Reader } = protobuf;
util.recursionLimit = 2 * DEPTH_MAX + 10;
Reader.recursionLimit = util.recursionLimit;

const PROTO = packageFile("proto/eps.proto");
const loaded = loadPackageDefinition(
  loadSync(PROTO, { keepCase: true, defaults: true, oneofs: true, enums: Number }),
);

/** The service EPS: its definition for a server, its constructor for a client. */
export const Eps = loaded["EPS"] as ServiceClientConstructor;
const CALL = Eps.service["Call"] as MethodDefinition<WireRequest, WireResponse>;

/**
 * Gives back a message of a reverse stream, or throws a fault if no peer would accept its size. gRPC
 * itself would end the stream, and with it every other call on it.
 */
export function fitting<M extends WireRequest | WireResponse>(message: M): M {
  const { requestSerialize, responseSerialize } = CALL;
  const bytes = "method" in message ? requestSerialize(message) : responseSerialize(message);
  if (bytes.length <= MESSAGE_MAX) return message;
  const what = "method" in message ? "request" : "answer";
  throw new Fault(
    "too_large",
    `the ${what} has ${bytes.length} bytes, and at most ${MESSAGE_MAX} can be sent`,
  );
}

/** An error code travels as int32, so one that does not fit becomes the nearest that does. */
const INT32_MAX = 2 ** 31 - 1;

/** An answer on its way out. None, or a result of null, leaves only the id (eps-protocol 3.5). */
export function toWire(id: string, answer: Answer | undefined): WireResponse {
  if (!answer) return { id };
  if (!("error" in answer)) {
    return answer.result === null ? { id } : { id, result: toStruct(wrap(answer.result)) };
  }
  const { code, message, data = null } = answer.error;
  const error: WireError = { code: Math.max(-INT32_MAX, Math.min(INT32_MAX, code)), message };
  if (data !== null) error.data = toStruct(wrap(data));
  return { id, error };
}

/** An answer that came in. An absent result or error data is `{}`, as the original reads it. */
export function fromWire({ result, error }: WireResponse): Answer {
  if (!error) return { result: unwrap(fromStruct(result)) };
  const { code, message, data } = error;
  return { error: { code, message, data: unwrap(fromStruct(data)) } };
}
