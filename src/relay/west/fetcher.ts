import { Agent, type ClientRequestArgs, type IncomingMessage } from "node:http";
import { connect } from "node:net";
import type { Duplex } from "node:stream";
import { Fault } from "../../core/fault.ts";
import type { Log } from "../../core/log.ts";
import { resolveEndpoint } from "../../net/dial.ts";
import { Forwarder, type HttpForwarder } from "../../rpc/http-forwarder.ts";
import type { Refusal } from "../../rpc/http-headers.ts";
import type { Upstream } from "../../rpc/http-upstream.ts";
import { type Endpoint, formatEndpoint } from "../../wire/endpoint.ts";
import { mayFetch, type Targets } from "./access.ts";
import type { WestEvents } from "./events.ts";
import { identified } from "./hops.ts";
import type { SiteLimits } from "./site.ts";

const HTTP_PORT = 80;
/** Shorter than the 5 s after which servers made with Node hang up, so that we hang up first. */
const IDLE_MS = 4_000;

type FetcherDeps = { events: WestEvents; log: Log };

/** Asks servers for what comes through one tunnel: the server is the one that `Host` names (seed-systems 1.5). */
export function openFetcher(
  { peer, targets, limits }: { peer: string; targets: Targets; limits: SiteLimits },
  { events, log }: FetcherDeps,
): HttpForwarder {
  const agent = new TargetAgent(targets, limits.streams_max);
  const { timeout_ms, client_timeout_ms, body_max } = limits;
  const route = (request: IncomingMessage): Upstream => {
    const endpoint = endpointOf(request.headers.host ?? "");
    const id = identified(request);
    const host = request.headers.host ?? "";
    return {
      endpoint: endpoint ?? { host: "", port: 0 },
      host,
      agent,
      timeout_ms,
      client_timeout_ms,
      body_max,
      refusal: endpoint ? undefined : { status: 400, text: "The request names no server." },
      refusals: {
        unreachable: (why) => unreachable(why, host),
        unusable: { status: 502, text: `The answer of ${host} cannot be passed on.` },
        silent: { status: 504, text: `${host} did not answer in time.` },
      },
      reached() {},
      missed: (err) => log.info({ err, target: host, request: id }, "a server does not answer"),
      over: events.exchange({
        side: "fetcher",
        request: id,
        method: request.method ?? "",
        path: (request.url ?? "").replace(/\?.*$/s, ""),
        peer,
        target: host,
      }),
    };
  };
  const forwarder = new Forwarder(route, { client_timeout_ms, log });
  return {
    accept: (connection) => forwarder.accept(connection),
    async [Symbol.asyncDispose]() {
      await forwarder[Symbol.asyncDispose]();
      agent.destroy();
    },
  };
}

/** An original answers 504 whatever the reason was. */
function unreachable(why: unknown, host: string): Refusal {
  if (why instanceof Fault && why.fault === "forbidden") {
    return {
      status: 403,
      text: `This side does not fetch from ${host} for you: it is not among its targets.`,
    };
  }
  return { status: 504, text: `${host} cannot be reached from the other side of the tunnel.` };
}

function endpointOf(host: string): Endpoint | undefined {
  const [, bracketed, plain = "", digits] =
    /^(?:\[([\da-fA-F:.]+)\]|([\w.-]+))(?::(\d{1,5}))?$/.exec(host) ?? [];
  const name = bracketed ?? plain;
  const port = Number(digits ?? HTTP_PORT);
  return name === "" || port === 0 || port > 65_535 ? undefined : { host: name, port };
}

type Made = (reason: Error | null, connection: Duplex) => void;

/** Connections to servers that one tunnel may ask: a name is resolved once, checked, and then dialled as it is. */
class TargetAgent extends Agent {
  readonly #targets: Targets;

  constructor(targets: Targets, max: number) {
    super({ keepAlive: true, maxSockets: max, maxFreeSockets: max, timeout: IDLE_MS });
    this.#targets = targets;
  }

  override createConnection(options: ClientRequestArgs, made?: Made): undefined {
    const endpoint = { host: options.host ?? "", port: Number(options.port) };
    void this.#dial(endpoint).then(
      (connection) => made?.(null, connection),
      (reason) => (made as (reason: Error) => void)?.(reason),
    );
  }

  async #dial(endpoint: Endpoint): Promise<Duplex> {
    const { host: address, port } = await resolveEndpoint(formatEndpoint(endpoint));
    if (!mayFetch(this.#targets, { ...endpoint, address })) {
      throw new Fault("forbidden", `${formatEndpoint(endpoint)} is not among the targets`);
    }
    return connect({ host: address, port, noDelay: true });
  }
}
