import { Fault } from "../../core/fault.ts";
import type { Log } from "../../core/log.ts";
import { JsonrpcClient } from "../../rpc/jsonrpc/client.ts";
import type { Answer } from "../../wire/answer.ts";
import type { JsonObject } from "../../wire/json.ts";
import type { Call, Channel } from "../channel.ts";
import type { Later } from "../later.ts";
import type { ServiceSettings } from "../settings.ts";
import { Turns } from "../turns.ts";

type Dependencies = { self: string; later: Later; log: Log };

/**
 * Hands calls for this operator to the service that runs behind its endpoint (eps-protocol 4.6). A
 * service that answers with HTTP status 202 and no result has acknowledged the call and will respond.
 */
export class JsonrpcClientChannel implements Channel, AsyncDisposable {
  readonly type = "jsonrpc_client";
  readonly #self: string;
  readonly #later: Later;
  readonly #client: JsonrpcClient;
  readonly #turns: Turns;

  private constructor(
    { self, later }: Dependencies,
    { client, turns }: { client: JsonrpcClient; turns: Turns },
  ) {
    this.#self = self;
    this.#later = later;
    this.#client = client;
    this.#turns = turns;
  }

  static async open(settings: ServiceSettings, deps: Dependencies): Promise<JsonrpcClientChannel> {
    const client = await JsonrpcClient.open(settings, deps);
    const turns = new Turns(`the service of ${deps.self}`, settings);
    return new JsonrpcClientChannel(deps, { client, turns });
  }

  /** Calls that wait because the service has too many to answer. */
  get waiting(): number {
    return this.#turns.waiting;
  }

  reaches(operator: string): boolean {
    return operator === this.#self;
  }

  async deliver({ address, params, caller }: Call, signal: AbortSignal): Promise<Answer> {
    using task = this.#later.open(address, caller.name);
    const call = { method: address.method, params, id: task.given };
    const asked = () => this.#ask(call, signal);
    return (await this.#turns.take(caller.source, signal, asked)) ?? (await task.promised());
  }

  /** The service gets the bare method name and the full id, by which it may tell calls apart. */
  async #ask(
    call: { method: string; params: JsonObject; id: string },
    signal: AbortSignal,
  ): Promise<Answer | undefined> {
    try {
      const options = { signal, timeout_ms: NO_TIMEOUT_OF_ITS_OWN };
      const { answer, acknowledged } = await this.#client.exchange(call, options);
      return acknowledged ? undefined : answer;
    } catch (reason) {
      const { fault, message } = Fault.from(reason);
      throw new Fault(fault, `error calling JSON-RPC server: ${message}`, { cause: reason });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#client[Symbol.asyncDispose]();
  }
}

/** The call's own deadline is in the signal. */
const NO_TIMEOUT_OF_ITS_OWN = 2 ** 31 - 1;
