import { Agent, type Dispatcher, ProxyAgent, request } from "undici";
import { Deadline } from "../../core/deadline.ts";
import { Fault } from "../../core/fault.ts";
import { readTls } from "../../net/tls.ts";
import type { Answer } from "../../wire/answer.ts";
import type { JsonObject } from "../../wire/json.ts";
import { parseResponse } from "../../wire/jsonrpc.ts";
import type { JsonrpcClientSettings } from "../settings.ts";

const CALL_MS = 30_000;
const CONNECT_MS = 5_000;
const ANSWER_MAX = 64 * 1024 * 1024;

type JsonrpcCall = { method: string; params: JsonObject; id?: string };
type CallOptions = { signal?: AbortSignal; timeout_ms?: number };
type Exchange = { answer: Answer; headers: Dispatcher.ResponseData["headers"] };

/** Calls a JSON-RPC server over HTTP and keeps the connection for the next call. */
export class JsonrpcClient implements AsyncDisposable {
  readonly #endpoint: string;
  readonly #agent: Dispatcher;

  private constructor(endpoint: string, agent: Dispatcher) {
    this.#endpoint = endpoint;
    this.#agent = agent;
  }

  /** Reads the certificates that `settings` name. Connects to nobody yet. */
  static async open(settings: JsonrpcClientSettings): Promise<JsonrpcClient> {
    const { endpoint, tls, proxy_url } = settings;
    if (!endpoint) throw new Fault("settings", "a jsonrpc_client needs an endpoint");
    const connect = {
      timeout: CONNECT_MS,
      autoSelectFamily: true,
      ...(tls && {
        ...(await readTls(tls)),
        rejectUnauthorized: !tls.insecure_skip_verify,
        ...(tls.server_name && { servername: tls.server_name }),
      }),
    };
    const agent = proxy_url
      ? new ProxyAgent({ uri: proxy_url, requestTls: connect })
      : new Agent({ connect });
    return new JsonrpcClient(endpoint, agent);
  }

  /**
   * Posts one call and brings back the answer, even an error answer. Throws `unreachable` or
   * `timeout` (after `timeout_ms`) if there is none.
   */
  async call(call: JsonrpcCall, options: CallOptions = {}): Promise<Answer> {
    return (await this.exchange(call, options)).answer;
  }

  /** The same, with the headers that the answer came with. */
  async exchange(
    { method, params, id = "" }: JsonrpcCall,
    { signal, timeout_ms = CALL_MS }: CallOptions = {},
  ): Promise<Exchange> {
    using deadline = new Deadline(timeout_ms, `${method} at ${this.where}`, signal);
    try {
      const response = await request(this.#endpoint, {
        method: "POST",
        dispatcher: this.#agent,
        signal: deadline.signal,
        headersTimeout: 0, // the deadline covers it all
        bodyTimeout: 0,
        headers: { "content-type": "application/json", accept: "application/json" },
        body: JSON.stringify({ jsonrpc: "2.0", method, params, id }),
      });
      const answer = parseResponse(JSON.parse(await bounded(response.body)));
      return { answer, headers: response.headers };
    } catch (cause) {
      if (deadline.signal.aborted) throw deadline.signal.reason;
      if (cause instanceof Fault) throw cause;
      const what = cause instanceof SyntaxError ? "does not answer in JSON" : "does not answer";
      throw new Fault("unreachable", `${this.where} ${what}`, { cause });
    }
  }

  /** Whom it calls, without user, password and query, which may be secrets. */
  get where(): string {
    const { origin, pathname } = new URL(this.#endpoint);
    return origin + pathname;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#agent.destroy();
  }
}

async function bounded(body: AsyncIterable<Buffer>): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of body) {
    size += chunk.length;
    if (size > ANSWER_MAX) throw new Fault("too_large", `an answer exceeds ${ANSWER_MAX} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}
