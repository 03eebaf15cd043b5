import { setTimeout as sleep } from "node:timers/promises";
import * as z from "zod";
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
/** Announcements in one call. */
const CONNECTIONS_MAX = 100;

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
  /** How often everything is announced again, in case a public proxy has lost its memory. */
  announce_again_ms: number;
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
    const { announce_again_ms, log } = this.#deps;
    const backoff = new Backoff();
    let failing = "";
    while (!signal.aborted) {
      const problems = await this.#announceAll(signal);
      if (signal.aborted) return;
      const told = problems.join("; ");
      if (told !== "" && told !== failing)
        log.warn({ reason: told }, "announcing failed, trying again");
      failing = told;
      this.#whyUnannounced = told || undefined;
      if (told === "") {
        backoff.reset();
        await sleep(announce_again_ms, undefined, { signal }).catch(() => {});
      } else await backoff.wait(signal).catch(() => {});
    }
  }

  /** One proxy that is away, or one domain that is refused, keeps nobody from hearing of the others. */
  async #announceAll(signal: AbortSignal): Promise<string[]> {
    const all = this.#deps.announcements.list();
    const problems: string[] = [];
    for (const proxy of new Set(all.map(({ party }) => party))) {
      const theirs = all.filter(({ party }) => party === proxy);
      for (let from = 0; from < theirs.length; from += CONNECTIONS_MAX) {
        try {
          const part = theirs.slice(from, from + CONNECTIONS_MAX);
          const refused = (await this.#pass(proxy, part, signal)).filter((each) => each !== null);
          problems.push(...refused.map(({ message }) => message));
        } catch (reason) {
          problems.push(`${proxy}: ${explain(reason)}`);
        }
      }
    }
    return problems;
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
    const [refused] = await this.#pass(proxy, [announcement], signal);
    if (refused) throw new Declined(refused);
    log.info({ domain, proxy, expires_at }, "announced");
    return "ok";
  }

  /** Tells a public proxy; for each announcement it says nothing, or why it was refused. */
  async #pass(
    proxy: string,
    announcements: Announcement[],
    signal: AbortSignal,
  ): Promise<z.output<typeof Verdict>[]> {
    const connections = announcements.map(({ domain, expires_at }) => ({
      expires_at,
      proxy,
      // An original public proxy looks for the letters that clients send, and those are small.
      domain: domain.toLowerCase(),
    }));
    const call = { method: `${proxy}.announceConnections`, params: { connections } };
    const answer = await this.#deps.eps.call(call, { signal });
    if ("error" in answer) throw new Declined(answer.error);
    const verdicts = z.array(Verdict).parse(answer.result);
    return verdicts.map((verdict, index) => {
      const { domain } = announcements[index] ?? {};
      return verdict && { ...verdict, message: `${proxy}: ${verdict.message} (${domain})` };
    });
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
