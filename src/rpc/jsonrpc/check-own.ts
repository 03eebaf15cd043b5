import { explain, Fault } from "../../core/fault.ts";
import { type Finding, findingsOf } from "../../core/findings.ts";
import type { JsonrpcServerSettings } from "../settings.ts";
import { openOwnClient } from "./own-client.ts";

const { ok, note, problem } = findingsOf("reachability");
const ANSWER_MS = 5_000;

/**
 * Does our own JSON-RPC server answer? `method` needs no parameters and always succeeds, and `start`
 * is the command that runs the server; that it does not run may be meant so.
 */
export async function checkOwnServer(
  settings: JsonrpcServerSettings,
  { method, start }: { method: string; start: string },
  signal: AbortSignal,
): Promise<Finding> {
  const what = `our JSON-RPC server at ${settings.bind_address}`;
  try {
    await using client = await openOwnClient(settings);
    const answer = await client.call({ method, params: {} }, { signal, timeout_ms: ANSWER_MS });
    if ("result" in answer) return ok(`${what} answers`);
    return problem(
      `${what} answers ${method} with an error: ${answer.error.message}`,
      "See its log; perhaps another program listens there.",
    );
  } catch (reason) {
    const fix = `Start it by \`${start}\`, unless it is meant to be stopped.`;
    if (Fault.from(reason).fault === "unreachable" && isRefused(reason)) {
      return note(`${what} does not run`, fix);
    }
    return problem(
      `${what} cannot be called: ${explain(reason)}`,
      "See its log and its tls block.",
    );
  }
}

function isRefused(reason: unknown): boolean {
  return /ECONNREFUSED/.test(explain(reason));
}
