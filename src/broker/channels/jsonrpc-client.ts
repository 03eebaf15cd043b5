import { Fault } from "../../core/fault.ts";
import type { Log } from "../../core/log.ts";
import { JsonrpcClient } from "../../rpc/jsonrpc/client.ts";
import type { JsonrpcClientSettings } from "../../rpc/settings.ts";
import { formatAddress } from "../../wire/address.ts";
import type { Answer } from "../../wire/answer.ts";
import type { Call, Channel } from "../channel.ts";

/** Hands calls for this operator to the service that runs behind its endpoint (eps-protocol 4.6). */
export class JsonrpcClientChannel implements Channel, AsyncDisposable {
  readonly type = "jsonrpc_client";
  readonly #self: string;
  readonly #client: JsonrpcClient;

  private constructor(self: string, client: JsonrpcClient) {
    this.#self = self;
    this.#client = client;
  }

  static async open(
    settings: JsonrpcClientSettings,
    { self, log }: { self: string; log: Log },
  ): Promise<JsonrpcClientChannel> {
    return new JsonrpcClientChannel(self, await JsonrpcClient.open(settings, { log }));
  }

  reaches(operator: string): boolean {
    return operator === this.#self;
  }

  /** The service gets the bare method name and the full id, by which it may tell calls apart. */
  async deliver({ address, params }: Call, signal: AbortSignal): Promise<Answer> {
    try {
      const call = { method: address.method, params, id: formatAddress(address) };
      return await this.#client.call(call, { signal, timeout_ms: NO_TIMEOUT_OF_ITS_OWN });
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
