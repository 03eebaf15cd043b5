import { Fault } from "../core/fault.ts";
import type { Directory } from "../directory/directory.ts";
import type { Answer } from "../wire/answer.ts";
import { isObject, type JsonObject } from "../wire/json.ts";
import { routeTo } from "./route.ts";

const TOKEN_SIZE_MAX = 64;

/** Where to dial, what to show there, and whether circuits through there last. */
export type Way = { endpoint: string; token: Buffer | undefined; lasting: boolean };

/**
 * Asks the proxy of an operator to bring us together (eps-protocol 6.2). `ask` calls that proxy. Throws
 * `unreachable` if it cannot, and `failed` if its answer makes no sense.
 */
export async function askProxy(
  { operator, proxy }: { operator: string; proxy: string },
  directory: Directory,
  ask: (method: string, params: JsonObject) => Promise<Answer>,
): Promise<Way> {
  const route = routeTo(directory.entry(proxy));
  if (!route || route.internal || route.proxy !== "") {
    throw new Fault("unreachable", `${proxy}, the proxy of ${operator}, cannot be dialled itself`);
  }
  const cannot = (why: string): Fault =>
    new Fault("unreachable", `${proxy} cannot connect us to ${operator}: ${why}`);
  const asked = ask("requestConnection", { to: operator, channel: "grpc_server" });
  const answer = await asked.catch((reason) => {
    throw reason instanceof Fault && reason.fault === "failed" ? cannot(reason.message) : reason;
  });
  if ("error" in answer) throw cannot(`${answer.error.message} (${answer.error.code})`);
  const { endpoint, token, lasting } = isObject(answer.result) ? answer.result : {};
  const bytes = Buffer.from(typeof token === "string" ? token : "", "base64");
  if (typeof endpoint !== "string" || bytes.length === 0 || bytes.length > TOKEN_SIZE_MAX) {
    throw new Fault("failed", `${proxy} answered without a token and an endpoint`);
  }
  return { endpoint, token: bytes, lasting: lasting === true };
}
