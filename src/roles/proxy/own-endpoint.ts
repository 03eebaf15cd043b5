import type { JsonrpcClient } from "../../rpc/jsonrpc/client.ts";
import { atMostEvery, type Check } from "../../rpc/readiness.ts";

const PING_MS = 2_000;
const PING_EVERY_MS = 1_000;

/** Does the endpoint beside a proxy answer? It is asked at most once a second, whoever wants to know. */
export function answersPing(eps: JsonrpcClient, name: string): Check {
  return atMostEvery(PING_EVERY_MS, async () => {
    const call = { method: `${name}._ping`, params: {} };
    const answer = await eps.call(call, { timeout_ms: PING_MS });
    if ("error" in answer) return `the endpoint beside this proxy says: ${answer.error.message}`;
    return undefined;
  });
}
