import { Fault } from "../core/fault.ts";
import type { Log } from "../core/log.ts";
import { Scope } from "../core/scope.ts";
import { JsonrpcClient } from "../rpc/jsonrpc/client.ts";
import { Declined } from "../wire/answer.ts";
import type { Json, JsonObject } from "../wire/json.ts";
import type { ApiDirectorySettings } from "./settings.ts";

type Options = { signal?: AbortSignal; timeout_ms?: number };

/** One endpoint of a service directory. */
export class SdServer implements AsyncDisposable {
  readonly #client: JsonrpcClient;

  constructor(client: JsonrpcClient) {
    this.#client = client;
  }

  /** Its address, without anything secret. */
  get endpoint(): string {
    return this.#client.where;
  }

  /** Brings back the result. An error answer is thrown as `Declined`, in the directory's own words. */
  async call(method: string, params: JsonObject, options: Options = {}): Promise<Json> {
    return (await this.exchange(method, params, options)).result;
  }

  /** The same, with the time of the server if it tells one. */
  async exchange(
    method: string,
    params: JsonObject,
    options: Options = {},
  ): Promise<{ result: Json; date: Date | undefined }> {
    const { answer, headers } = await this.#client.exchange({ method, params }, options);
    if ("error" in answer) throw new Declined(answer.error);
    const date = new Date(String(headers["date"]));
    return { result: answer.result, date: Number.isNaN(date.getTime()) ? undefined : date };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#client[Symbol.asyncDispose]();
  }
}

/** Talks to a service directory; where several endpoints are configured, to the first that answers. */
export class SdClient implements AsyncDisposable {
  readonly #scope = new Scope();
  readonly #servers: SdServer[] = [];
  #preferred = 0;

  static async open(settings: ApiDirectorySettings, deps: { log?: Log } = {}): Promise<SdClient> {
    const sd = new SdClient();
    const { endpoints, server_names, jsonrpc_client } = settings;
    for (const [index, endpoint] of endpoints.entries()) {
      const server_name = server_names[index] ?? server_names[0];
      const client = await JsonrpcClient.open(jsonrpc_client, { ...deps, endpoint, server_name });
      sd.#servers.push(sd.#scope.use(new SdServer(client)));
    }
    return sd;
  }

  /** Every endpoint, in the order of the settings, for those who want to hear each of them. */
  get servers(): readonly SdServer[] {
    return this.#servers;
  }

  /** As that of a server; if no endpoint answers, the fault of the last one is thrown. */
  async call(method: string, params: JsonObject, options: Options = {}): Promise<Json> {
    for (let tried = 1; ; tried += 1) {
      try {
        return await this.#server.call(method, params, options);
      } catch (reason) {
        const silent = reason instanceof Fault && reason.fault === "unreachable";
        if (!silent || options.signal?.aborted || tried === this.#servers.length) throw reason;
        this.#preferred += 1;
      }
    }
  }

  get #server(): SdServer {
    const server = this.#servers[this.#preferred % this.#servers.length];
    if (!server) throw new Fault("settings", "the directory has no endpoint");
    return server;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#scope[Symbol.asyncDispose]();
  }
}
