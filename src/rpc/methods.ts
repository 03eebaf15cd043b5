import type { z } from "zod";
import { Fault } from "../core/fault.ts";
import { type Answer, faultAnswer } from "../wire/answer.ts";
import type { Json, JsonObject } from "../wire/json.ts";
import { formError } from "../wire/jsonrpc.ts";

/** One method: its parameters are checked by a schema, so its handler never sees an unchecked value. */
export type Method = (params: JsonObject, signal: AbortSignal) => Promise<Json>;
export type MethodTable = ReadonlyMap<string, Method>;

export function method<S extends z.ZodType>(
  params: S,
  handle: (params: z.output<S>, signal: AbortSignal) => Promise<Json> | Json,
): Method {
  return async (given, signal) => {
    const checked = params.safeParse(given);
    if (checked.success) return handle(checked.data, signal);
    const problems = Object.fromEntries(
      checked.error.issues.map(({ path, message }) => [path.join(".") || "params", message]),
    );
    throw new Fault("malformed", "invalid params", { detail: formError(problems) });
  };
}

/** Answers from a table of methods; what a handler throws becomes an error answer. */
export async function answerFrom(
  methods: MethodTable,
  { method, params }: { method: string; params: JsonObject },
  signal: AbortSignal,
): Promise<Answer> {
  const handle = methods.get(method);
  if (!handle) {
    const known = [...methods.keys()].join(", ");
    return faultAnswer(new Fault("unknown_method", `method not found (there are ${known})`));
  }
  return { result: await handle(params, signal) };
}
