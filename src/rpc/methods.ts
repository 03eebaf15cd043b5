import { nanoid } from "nanoid";
import type * as z from "zod";
import { Fault } from "../core/fault.ts";
import { type Answer, faultAnswer } from "../wire/answer.ts";
import { REQUEST_ID_SIZE, requestOf } from "../wire/call-id.ts";
import type { Json, JsonObject } from "../wire/json.ts";
import { formError, type Request } from "../wire/jsonrpc.ts";

/**
 * One method: its parameters are checked by a schema, so its handler never sees an unchecked value.
 * `request` is what the caller's endpoint calls the request that this belongs to, for the log.
 */
export type Method = (params: JsonObject, signal: AbortSignal, request: string) => Promise<Json>;
export type MethodTable = ReadonlyMap<string, Method>;

export function method<S extends z.ZodType>(
  params: S,
  handle: (params: z.output<S>, signal: AbortSignal, request: string) => Promise<Json> | Json,
): Method {
  return async (given, signal, request) => {
    const checked = params.safeParse(given);
    if (checked.success) return handle(checked.data, signal, request);
    const problems = Object.fromEntries(
      checked.error.issues.map(({ path, message }) => [path.join(".") || "params", message]),
    );
    throw new Fault("malformed", "invalid params", { detail: formError(problems) });
  };
}

/** Answers from a table of methods; what a handler throws becomes an error answer. */
export async function answerFrom(
  methods: MethodTable,
  { id, method, params }: Request,
  signal: AbortSignal,
): Promise<Answer> {
  const handle = methods.get(method);
  if (!handle) {
    const known = [...methods.keys()].join(", ");
    return faultAnswer(new Fault("unknown_method", `method not found (there are ${known})`));
  }
  const request = requestOf(`${id ?? ""}`) ?? nanoid(REQUEST_ID_SIZE);
  return { result: await handle(params, signal, request) };
}
