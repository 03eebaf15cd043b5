import { readFile } from "node:fs/promises";
import { text } from "node:stream/consumers";
import { explain, Fault } from "../../../core/fault.ts";
import type { AnswerError } from "../../../wire/answer.ts";
import { isObject, type Json, type JsonObject } from "../../../wire/json.ts";
import type { EpsSettings } from "../settings.ts";
import { notRunning, openGatewayClient } from "./gateway.ts";

type CallFlags = { id?: string; timeout?: number };

/**
 * Calls a method through the running endpoint and prints the result: on a terminal in many lines,
 * elsewhere in one. An error answer is a fault, which carries its code and data.
 */
export async function callMethod(
  settings: EpsSettings,
  method: string,
  given: string | undefined,
  flags: CallFlags,
  signal: AbortSignal,
): Promise<void> {
  const params = await readParams(given);
  const result = await callOnce(settings, { method, params }, flags, signal);
  process.stdout.write(`${JSON.stringify(result, null, process.stdout.isTTY ? 2 : 0)}\n`);
}

/** One call through the running endpoint. `timeout` is in seconds; the endpoint has its own as well. */
export async function callOnce(
  settings: EpsSettings,
  call: { method: string; params: JsonObject },
  { id, timeout }: CallFlags,
  signal: AbortSignal,
): Promise<Json> {
  await using client = await openGatewayClient(settings);
  const timeout_ms = (timeout ?? settings.call_timeout + ANSWER_S) * 1_000;
  const answer = await client
    .call({ ...call, ...(id !== undefined && { id }) }, { signal, timeout_ms })
    .catch((reason) => {
      throw notRunning(reason);
    });
  if ("error" in answer) throw new Fault("failed", inWords(answer.error));
  return answer.result;
}

/** How much longer we wait than the endpoint does, so that its answer says what was too slow. */
const ANSWER_S = 5;

/** Parameters as an argument, from a file (`@name`) or from standard input (`-`); none are `{}`. */
async function readParams(given = "{}"): Promise<JsonObject> {
  const [where, read] =
    given === "-"
      ? ["standard input", () => text(process.stdin)]
      : given.startsWith("@")
        ? [given.slice(1), () => readFile(given.slice(1), "utf8")]
        : ["the argument", async () => given];
  const params = await parsed(where, read);
  if (isObject(params)) return params;
  throw new Fault("malformed", `${where} is no JSON object, as in '{"a": 1}'`);
}

async function parsed(where: string, read: () => Promise<string>): Promise<Json> {
  try {
    return JSON.parse(await read());
  } catch (cause) {
    const why = cause instanceof SyntaxError ? "is no JSON" : "cannot be read";
    throw new Fault("malformed", `${where} ${why}: ${explain(cause)}`);
  }
}

export function inWords({ code, message, data }: AnswerError): string {
  const more = data === undefined || data === null ? "" : ` ${JSON.stringify(data)}`;
  return `${message} (code ${code})${more}`;
}
