import { nanoid } from "nanoid";
import * as z from "zod";
import { explain, FAULTS, Fault } from "../../core/fault.ts";
import type { Log } from "../../core/log.ts";
import type { RelayEvents } from "../../relay/events.ts";
import type { Leg } from "../../relay/leg.ts";
import type { Pairs } from "../../relay/rendezvous/pair.ts";
import type { JsonrpcClient } from "../../rpc/jsonrpc/client.ts";
import { type MethodTable, method } from "../../rpc/methods.ts";
import { Declined } from "../../wire/answer.ts";
import { REQUEST_ID_SIZE, withRequest } from "../../wire/call-id.ts";
import { alert } from "../../wire/client-hello.ts";
import type { Json, JsonObject } from "../../wire/json.ts";
import { type Announcements, PUBLIC } from "./announcements.ts";
import { mayAnnounce } from "./authorisation.ts";
import { Client, Domain, ExpiresAt } from "./client.ts";

/** How long the callee may take to dial in. */
const CALLEE_MS = 10_000;
const NAME_MAX = 200;
const CONNECTIONS_MAX = 1_000;

const ConnectionWish = z.object({
  to: z.string().min(1).max(NAME_MAX),
  channel: z.string().min(1).max(NAME_MAX),
  _client: Client,
});

const Announced = z.object({
  connections: z.array(z.object({ domain: Domain, expires_at: ExpiresAt })).max(CONNECTIONS_MAX),
  _client: Client,
});

type Dependencies = {
  /** The operator that this proxy is. */
  name: string;
  /** Where both sides are told to dial. */
  endpoint: string;
  pairs: Pairs<Leg>;
  announcements: Announcements;
  /** The endpoint beside us, by which we reach operators. */
  eps: JsonrpcClient;
  events: RelayEvents;
  log: Log;
};

/** What a public proxy does for the endpoint beside it, and for TLS clients that name a server. */
export class PublicBroker {
  readonly #deps: Dependencies;

  constructor(deps: Dependencies) {
    this.#deps = deps;
  }

  /** What the endpoint beside us may call (eps-protocol 6.2, 7.2, 7.3). */
  get methods(): MethodTable {
    return new Map([
      ["requestConnection", method(ConnectionWish, (...wish) => this.#connect(...wish))],
      ["announceConnections", method(Announced, (announced) => this.#announce(announced))],
      ["getAnnouncements", method(z.object({}), () => this.#announcements())],
    ]);
  }

  /** Brings a TLS client together with whoever announced the name it asks for (eps-protocol 7.4). */
  async passThrough(domain: string, leg: Leg, signal: AbortSignal): Promise<void> {
    const { pairs, announcements, endpoint, events } = this.#deps;
    const announcement = announcements.find(domain);
    if (!announcement) {
      events.turnedAway("sni", "unknown", { domain });
      return leg.line.hangUp(alert("unrecognized_name"));
    }
    const { party: operator, domain: announced } = announcement;
    let waiting = [leg];
    try {
      const request = nanoid(REQUEST_ID_SIZE);
      const pairing = pairs.expect({ caller: domain, callee: operator, request });
      pairs.seat(pairing.tokens.caller, leg);
      try {
        const token = text(pairing.tokens.callee);
        const incoming = { domain: announced, token, endpoint };
        await this.#tell(`${operator}.incomingConnection`, incoming, { request, signal });
      } catch (reason) {
        waiting = pairs.forget(pairing); // nobody, if somebody came although the operator refused
        throw reason;
      }
    } catch (reason) {
      if (waiting.length === 0) return;
      const story = { caller: domain, callee: operator, reason: explain(reason) };
      events.turnedAway("sni", "unreachable", story);
      for (const { line } of waiting) line.hangUp(alert("internal_error"));
    }
  }

  async #connect(
    { to, channel, _client }: z.output<typeof ConnectionWish>,
    signal: AbortSignal,
    request: string,
  ): Promise<Json> {
    const { pairs, endpoint } = this.#deps;
    const pairing = pairs.expect({ caller: _client.name, callee: to, request });
    const { caller, callee } = pairing.tokens;
    try {
      const client = { name: _client.name, entry: _client.entry as unknown as Json };
      const invitation = { endpoint, channel, client, token: text(callee) };
      await this.#tell(`${to}._connectionRequest`, invitation, { request, signal });
    } catch (reason) {
      for (const leg of pairs.forget(pairing)) leg.line.hangUp();
      throw reason;
    }
    pairs.renew(pairing);
    // `lasting` is ours: an original proxy cuts every circuit after 5 s and does not say so.
    return { token: text(caller), endpoint, lasting: true };
  }

  /** One item for each connection: null if it was taken, otherwise why not (eps-protocol 7.2). */
  async #announce({ connections, _client }: z.output<typeof Announced>): Promise<Json> {
    const { name, announcements, log } = this.#deps;
    const results: Json[] = [];
    for (const { domain, expires_at } of connections) {
      try {
        mayAnnounce(_client, domain, name);
        const news = await announcements.announce({ domain, party: _client.name, expires_at });
        if (news) log.info({ domain, operator: _client.name, expires_at }, "announced");
        results.push(null);
      } catch (reason) {
        const { fault, message } = Fault.from(reason);
        log.info({ domain, operator: _client.name, reason: message }, "announcement refused");
        results.push({ code: FAULTS[fault].jsonrpc, message });
      }
    }
    return results;
  }

  #announcements(): Json {
    return this.#deps.announcements
      .list()
      .map(({ domain, party, expires_at }) => ({ expires_at, [PUBLIC.party]: party, domain }));
  }

  /** Calls an operator through the endpoint beside us; an error answer is passed on as it came. */
  async #tell(
    method: string,
    params: JsonObject,
    { request, signal }: { request: string; signal: AbortSignal },
  ): Promise<void> {
    const { eps, log } = this.#deps;
    const call = { method, params, id: withRequest(nanoid(), request) };
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
