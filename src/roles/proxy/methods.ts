import { z } from "zod";
import { Fault } from "../../core/fault.ts";
import type { Log } from "../../core/log.ts";
import type { Leg } from "../../relay/leg.ts";
import type { Pairs } from "../../relay/rendezvous/pair.ts";
import type { JsonrpcClient } from "../../rpc/jsonrpc/client.ts";
import { type MethodTable, method } from "../../rpc/methods.ts";
import { Declined } from "../../wire/answer.ts";
import type { JsonObject } from "../../wire/json.ts";

/** How long the callee may take to dial in. */
const CALLEE_MS = 10_000;
const NAME_MAX = 200;

/** The caller, as the endpoint beside us knows it (eps-protocol 6.6). */
const Client = z.object({
  name: z.string().min(1),
  entry: z.looseObject({
    name: z.string(),
    channels: z.array(z.looseObject({ type: z.string() })),
  }),
});

const ConnectionWish = z.object({
  to: z.string().min(1).max(NAME_MAX),
  channel: z.string().min(1).max(NAME_MAX),
  _client: Client,
});

type Dependencies = {
  /** Where callers and callees are told to dial. */
  endpoint: string;
  pairs: Pairs<Leg>;
  /** The endpoint beside us, by which we reach operators. */
  eps: JsonrpcClient;
  log: Log;
};

/** What a public proxy answers to the endpoint beside it (eps-protocol 6.2). */
export function proxyMethods({ endpoint, pairs, eps, log }: Dependencies): MethodTable {
  return new Map([
    [
      "requestConnection",
      method(ConnectionWish, async ({ to, channel, _client }, signal) => {
        const pairing = pairs.expect({ caller: _client.name, callee: to });
        const { caller, callee } = pairing.tokens;
        try {
          const { name, entry } = _client;
          const params = { endpoint, channel, client: { name, entry }, token: text(callee) };
          await invite(to, params as unknown as JsonObject, signal);
        } catch (reason) {
          for (const leg of pairs.forget(pairing)) leg.socket.destroy();
          throw reason;
        }
        pairs.renew(pairing);
        // `lasting` is ours: an original proxy cuts every circuit after 5 s and does not say so.
        return { token: text(caller), endpoint, lasting: true };
      }),
    ],
  ]);

  /** Tells the callee to come, and waits until it has dialled in. */
  async function invite(to: string, params: JsonObject, signal: AbortSignal): Promise<void> {
    const call = { method: `${to}._connectionRequest`, params };
    const answer = await eps.call(call, { signal, timeout_ms: CALLEE_MS }).catch((reason) => {
      log.warn({ err: reason }, "the endpoint beside this proxy does not answer");
      throw new Fault("unreachable", "the proxy cannot reach its own endpoint", { cause: reason });
    });
    if ("error" in answer) throw new Declined(answer.error);
  }
}

/** Tokens travel in JSON as standard base64. */
function text(token: Buffer): string {
  return token.toString("base64");
}
