import { Fault } from "../core/fault.ts";
import type { Log } from "../core/log.ts";
import { Scope } from "../core/scope.ts";
import { JsonrpcClient } from "../rpc/jsonrpc/client.ts";
import { Declined } from "../wire/answer.ts";
import type { Json, JsonObject } from "../wire/json.ts";
import type { ApiDirectorySettings } from "./settings.ts";

/** Talks to a service directory; where several endpoints are configured, to the first that answers. */
export class SdClient implements AsyncDisposable {
  readonly #scope = new Scope();
  readonly #clients: JsonrpcClient[] = [];
  #preferred = 0;

  static async open(settings: ApiDirectorySettings, deps: { log?: Log } = {}): Promise<SdClient> {
    const sd = new SdClient();
    const { endpoints, server_names, jsonrpc_client } = settings;
    for (const [index, endpoint] of endpoints.entries()) {
      const server_name = server_names[index] ?? server_names[0];
      const client = await JsonrpcClient.open(jsonrpc_client, { ...deps, endpoint, server_name });
      sd.#clients.push(sd.#scope.use(client));
    }
    return sd;
  }

  /**
   * Brings back the result. An error answer is thrown as `Declined`, in the directory's own words; if no
   * endpoint answers, the fault of the last one is thrown.
   */
  async call(
    method: string,
    params: JsonObject,
    options: { signal?: AbortSignal; timeout_ms?: number } = {},
  ): Promise<Json> {
    for (let tried = 1; ; tried += 1) {
      try {
        const answer = await this.#client.call({ method, params }, options);
        if ("error" in answer) throw new Declined(answer.error);
        return answer.result;
      } catch (reason) {
        const silent = reason instanceof Fault && reason.fault === "unreachable";
        if (!silent || options.signal?.aborted || tried === this.#clients.length) throw reason;
        this.#preferred += 1;
      }
    }
  }

  get #client(): JsonrpcClient {
    const client = this.#clients[this.#preferred % this.#clients.length];
    if (!client) throw new Fault("settings", "the directory has no endpoint");
    return client;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#scope[Symbol.asyncDispose]();
  }
}
