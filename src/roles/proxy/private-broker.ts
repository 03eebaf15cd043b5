import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { Backoff, Deadline } from "../../core/deadline.ts";
import { explain, Fault } from "../../core/fault.ts";
import type { Log } from "../../core/log.ts";
import { dial } from "../../net/dial.ts";
import { TOKEN_SIZE } from "../../relay/rendezvous/pair.ts";
import type { JsonrpcClient } from "../../rpc/jsonrpc/client.ts";
import { type MethodTable, method } from "../../rpc/methods.ts";
import { Declined } from "../../wire/answer.ts";
import type { Json } from "../../wire/json.ts";
import { type Announcement, type Announcements, isSame, PRIVATE } from "./announcements.ts";
import { mayAnnounce } from "./authorisation.ts";
import { Client, Domain, ExpiresAt } from "./client.ts";
import type { Target, Visit } from "./targets.ts";

const DIAL_MS = 10_000;
/** How often everything is announced again, in case a public proxy has lost its memory. */
const AGAIN_MS = 600_000;

const Wish = z.object({
  domain: Domain,
  proxy: z.string().min(1),
  expires_at: ExpiresAt,
  _client: Client,
});

const Incoming = z.object({
  domain: z.string(),
  endpoint: z.string().min(1),
  token: z.base64().transform((text) => Buffer.from(text, "base64")),
  _client: z.object({ name: z.string() }),
});

/** What a public proxy says to one announcement: nothing, or why it was refused. */
const Verdict = z.object({ code: z.number(), message: z.string() }).nullable();

type Dependencies = {
  name: string;
  announcements: Announcements;
  /** The endpoint beside us, by which we reach public proxies. */
  eps: JsonrpcClient;
  /** Where connections for our domains go. */
  target: Target;
  log: Log;
};

/** What a private proxy does: it announces domains, and fetches the connections that come for them. */
export class PrivateBroker {
  readonly #deps: Dependencies;
  #whyUnannounced: string | undefined = "nothing has been announced yet";

  constructor(deps: Dependencies) {
    this.#deps = deps;
  }

  /** What the endpoint beside us may call (eps-protocol 7.1, 7.3, 7.5). */
  get methods(): MethodTable {
    return new Map([
      ["announceConnection", method(Wish, (wish, signal) => this.#announce(wish, signal))],
      ["getAnnouncements", method(z.object({}), () => this.#announcements())],
      [
        "incomingConnection",
        method(Incoming, (incoming, _, request) => this.#welcome(incoming, request)),
      ],
    ]);
  }

  /** Why a public proxy does not know all announcements, as it was when they were last made. */
  get whyUnannounced(): string | undefined {
    return this.#whyUnannounced;
  }

  /** Announces everything again and again, soon after a failure, until the signal aborts. */
  async keepAnnouncing(signal: AbortSignal): Promise<void> {
    const { announcements, log } = this.#deps;
    const backoff = new Backoff();
    let failing = false;
    while (!signal.aborted) {
      try {
        for (const each of announcements.list()) await this.#pass(each, signal);
        failing = false;
        this.#whyUnannounced = undefined;
        backoff.reset();
        await sleep(AGAIN_MS, undefined, { signal });
      } catch (reason) {
        if (signal.aborted) return;
        this.#whyUnannounced = explain(reason);
        if (!failing) log.warn({ reason: explain(reason) }, "announcing failed, trying again");
        failing = true;
        await backoff.wait(signal).catch(() => {});
      }
    }
  }

  async #announce(
    { domain, proxy, expires_at, _client }: z.output<typeof Wish>,
    signal: AbortSignal,
  ): Promise<Json> {
    const { name, announcements, log } = this.#deps;
    if (proxy === name) {
      throw new Declined({ code: 400, message: "trying to announce with private proxy name" });
    }
    mayAnnounce(_client, domain, name);
    const announcement = { domain, party: proxy, expires_at };
    await announcements.announce(announcement);
    await this.#pass(announcement, signal);
    log.info({ domain, proxy, expires_at }, "announced");
    return "ok";
  }

  /** Tells the public proxy; what it refuses is told to whoever asked. */
  async #pass({ domain, party, expires_at }: Announcement, signal: AbortSignal): Promise<void> {
    const call = {
      method: `${party}.announceConnections`,
      // An original public proxy looks for the letters that clients send, and those are small.
      params: { connections: [{ expires_at, proxy: party, domain: domain.toLowerCase() }] },
    };
    const answer = await this.#deps.eps.call(call, { signal });
    if ("error" in answer) throw new Declined(answer.error);
    const [verdict] = z.array(Verdict).parse(answer.result);
    if (verdict)
      throw new Declined({ ...verdict, message: `${party}: ${verdict.message} (${domain})` });
  }

  #announcements(): Json {
    return this.#deps.announcements
      .list()
      .map(({ domain, party, expires_at }) => ({ expires_at, [PRIVATE.party]: party, domain }));
  }

  /** Only the proxy that a domain was announced at may send somebody for it. */
  #welcome({ domain, endpoint, token, _client }: z.output<typeof Incoming>, request: string): Json {
    const { announcements } = this.#deps;
    const known = announcements
      .list()
      .some((each) => isSame(each.domain, domain) && each.party === _client.name);
    if (!known) throw new Fault("not_found", "no matching connection found");
    if (token.length !== TOKEN_SIZE) throw new Fault("malformed", "a token has 32 bytes");
    void this.#fetch({ domain, request }, endpoint, token);
    return { message: "ok" };
  }

  async #fetch(visit: Visit, endpoint: string, token: Buffer): Promise<void> {
    const { target, log } = this.#deps;
    using deadline = new Deadline(DIAL_MS, `dialling ${endpoint}`);
    try {
      const socket = await dial(endpoint, deadline.signal);
      socket.on("error", () => {}); // an error is followed by a close, which its owner sees
      socket.write(token);
      await target.take(socket, visit);
    } catch (reason) {
      log.warn({ ...visit, reason: explain(reason) }, "a connection could not be fetched");
    }
  }
}
