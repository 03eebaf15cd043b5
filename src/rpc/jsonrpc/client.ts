import { Agent, type Dispatcher, ProxyAgent, request } from "undici";
import { Deadline } from "../../core/deadline.ts";
import { Fault } from "../../core/fault.ts";
import { type Log, silent } from "../../core/log.ts";
import { type LiveTls, openTls } from "../../net/live-tls.ts";
import type { Answer } from "../../wire/answer.ts";
import type { JsonObject } from "../../wire/json.ts";
import { parseResponse } from "../../wire/jsonrpc.ts";
import type { JsonrpcClientSettings } from "../settings.ts";

const CALL_MS = 30_000;
const CONNECT_MS = 10_000;
const ANSWER_MAX = 64 * 1024 * 1024;

/** RFC 9110, 15.3.3: taken, and not yet done. */
const ACCEPTED = 202;

type CallOptions = { signal?: AbortSignal; timeout_ms?: number };
type JsonrpcCall = { method: string; params: JsonObject; id?: string };

/** Calls a JSON-RPC server over HTTP and keeps the connection for the next call. */
export class JsonrpcClient implements AsyncDisposable {
  readonly #endpoint: string;
  readonly #tls: LiveTls | undefined;
  #agent: Dispatcher;
  /** Those whose certificates were renewed, until their last call is answered. */
  readonly #retired = new Set<Dispatcher>();

  private constructor(
    endpoint: string,
    { tls, connectBy }: { tls: LiveTls | undefined; connectBy: () => Dispatcher },
  ) {
    this.#endpoint = endpoint;
    this.#tls = tls;
    this.#agent = connectBy();
    tls?.onChange(() => {
      this.#retire(this.#agent);
      this.#agent = connectBy();
    });
  }

  /**
   * Reads the certificates that `settings` name, and again when they change: calls under way keep
   * their connection, the next one opens another. Connects to nobody yet.
   */
  static async open(
    settings: JsonrpcClientSettings,
    {
      log = silent,
      endpoint = settings.endpoint,
      server_name = settings.tls?.server_name,
    }: { log?: Log; endpoint?: string | undefined; server_name?: string | undefined } = {},
  ): Promise<JsonrpcClient> {
    const { tls: files, proxy_url } = settings;
    if (!endpoint) throw new Fault("settings", "a jsonrpc_client needs an endpoint");
    const tls = files && (await openTls(files, { log }));
    const connectBy = (): Dispatcher => {
      const connect = {
        timeout: CONNECT_MS,
        autoSelectFamily: true,
        ...tls?.current,
        rejectUnauthorized: !files?.insecure_skip_verify,
        ...(server_name && { servername: server_name }),
      };
      return proxy_url
        ? new ProxyAgent({ uri: proxy_url, requestTls: connect })
        : new Agent({ connect });
    };
    return new JsonrpcClient(endpoint, { tls, connectBy });
  }

  /**
   * Posts one call and brings back the answer, even an error answer. Throws `unreachable` or
   * `timeout` (after `timeout_ms`) if there is none.
   */
  async call(call: JsonrpcCall, options: CallOptions = {}): Promise<Answer> {
    return (await this.ask(call, options)) ?? { result: null };
  }

  /** As `call`, but undefined if the other side only acknowledges the call: HTTP status 202 and no result. */
  async ask(
    { method, params, id = "" }: JsonrpcCall,
    { signal, timeout_ms = CALL_MS }: CallOptions = {},
  ): Promise<Answer | undefined> {
    using deadline = new Deadline(timeout_ms, `${method} at ${this.#where}`, signal);
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
      const text = await bounded(response.body);
      const acknowledged = response.statusCode === ACCEPTED;
      if (acknowledged && text.trim() === "") return undefined;
      const answer = parseResponse(JSON.parse(text));
      return acknowledged && "result" in answer && answer.result === null ? undefined : answer;
    } catch (cause) {
      if (deadline.signal.aborted) throw deadline.signal.reason;
      if (cause instanceof Fault) throw cause;
      const what = cause instanceof SyntaxError ? "does not answer in JSON" : "does not answer";
      throw new Fault("unreachable", `${this.#where} ${what}`, { cause });
    }
  }

  /** Without user, password and query, which may be secrets. */
  get #where(): string {
    const { origin, pathname } = new URL(this.#endpoint);
    return origin + pathname;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#tls?.[Symbol.asyncDispose]();
    await Promise.all([this.#agent, ...this.#retired].map((agent) => agent.destroy()));
  }

  #retire(agent: Dispatcher): void {
    this.#retired.add(agent);
    const gone = (): void => void this.#retired.delete(agent);
    agent.close().then(gone, gone);
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
