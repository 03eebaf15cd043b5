import { Fault } from "../core/fault.ts";
import type { Answer, AnswerError } from "./answer.ts";
import { DEPTH_MAX, isObject, type Json, type JsonObject } from "./json.ts";

/** A request as it came in, checked. `id` is undefined when the caller gave none (or null, or ""). */
export type Request = { id: string | number | undefined; method: string; params: JsonObject };

const METHOD_MAX = 100;
const ID_MAX = 1_024;

/**
 * Checks a request's envelope (eps-protocol 5.1): one object, `"2.0"`, a method of 1 to 100 bytes,
 * an object as params. Unlike the original it accepts any safe integer as id. Throws
 * `unreadable` or `invalid_request` faults whose detail has the original's shape.
 */
export function parseRequest(body: unknown): Request {
  if (!isObject(body)) {
    const what = Array.isArray(body)
      ? ": send one request at a time, batches are not supported"
      : "";
    throw new Fault("unreadable", `JSON required${what}`);
  }
  const problems: Record<string, string> = {};
  const { jsonrpc, method, params, id } = body;
  if (jsonrpc !== "2.0") problems["jsonrpc"] = 'expected "2.0"';
  if (typeof method !== "string") problems["method"] = "expected a string";
  else if (method === "" || Buffer.byteLength(method) > METHOD_MAX) {
    problems["method"] = `must have 1 to ${METHOD_MAX} bytes`;
  }
  if (params === undefined || params === null) problems["params"] = "is required";
  else if (!isObject(params)) problems["params"] = "expected an object";
  else if (deeperThan(params, DEPTH_MAX)) {
    problems["params"] = `may nest ${DEPTH_MAX} levels deep`;
  }
  if (typeof id === "string") {
    if (Buffer.byteLength(id) > ID_MAX) problems["id"] = `must have at most ${ID_MAX} bytes`;
  } else if (id !== undefined && id !== null && !Number.isSafeInteger(id)) {
    problems["id"] = "expected a string or an integer";
  }
  if (Object.keys(problems).length > 0) {
    throw new Fault("invalid_request", "invalid request", { detail: formError(problems) });
  }
  return {
    id: id === null || id === "" ? undefined : (id as string | number | undefined),
    method: method as string,
    params: params as JsonObject,
  };
}

/** Named problems in the form in which the original reports them (eps-protocol 1.6). */
export function formError(problems: Record<string, string>): JsonObject {
  const told = Object.entries(problems).map(([key, what]) => `${key}(${what})`);
  return {
    message: `invalid input data: ${told.join(", ")}`,
    code: "FORM-ERROR",
    data: problems,
    traceback: [],
  };
}

/** Walks with a list instead of recursion, since depth is just what is in doubt. */
function deeperThan(value: Json, max: number): boolean {
  let level: Json[] = [value];
  for (let depth = 0; level.length > 0; depth += 1) {
    if (depth > max) return true;
    level = level.flatMap((item) =>
      item !== null && typeof item === "object" ? Object.values(item) : [],
    );
  }
  return false;
}

/** A response as it goes out; keys in the order of eps-protocol 5.1. */
export function formatResponse(answer: Answer, id: string | number | null): JsonObject {
  return { jsonrpc: "2.0", ...answer, id } as JsonObject;
}

/** The answer inside a response from anywhere: only `result` and `error` count (eps-protocol 5.5). */
export function parseResponse(body: unknown): Answer {
  if (!isObject(body)) throw new Fault("unreachable", "the answer is not a JSON-RPC response");
  const { error } = body;
  if (error === undefined || error === null) return { result: body["result"] ?? null };
  if (!isObject(error) || !Number.isInteger(error["code"])) {
    throw new Fault("unreachable", "the answer carries an error without an integer code");
  }
  const answer: AnswerError = { code: error["code"] as number, message: String(error["message"]) };
  if (error["data"] !== undefined && error["data"] !== null) answer.data = error["data"];
  return { error: answer };
}
