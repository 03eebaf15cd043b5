import type { IncomingMessage } from "node:http";
import { isIPv6 } from "node:net";
import { Fault } from "../../core/fault.ts";
import type { Log } from "../../core/log.ts";
import { Scope } from "../../core/scope.ts";
import { type Listener, type ListenOptions, listen } from "../../net/listen.ts";
import { unmapped } from "../../net/source.ts";
import { Forwarder } from "../../rpc/http-forwarder.ts";
import { type Field, type Refusal, targetOf, whoAsks } from "../../rpc/http-headers.ts";
import type { Upstream } from "../../rpc/http-upstream.ts";
import type { TunnelAgent } from "../tunnel/tunnel.ts";
import { isListed } from "./access.ts";
import type { WestEvents } from "./events.ts";
import { identified, looped } from "./hops.ts";
import type { ListenerPlan, RoutePlan, SiteLimits } from "./site.ts";

type ListenerDeps = {
  /** Leads to the other side now; throws `unreachable` if there is no way. */
  agent(): TunnelAgent;
  events: WestEvents;
  log: Log;
};

type Where = Pick<ListenOptions, "setting" | "share">;

/** A port where HTTP clients come in whose requests leave through a tunnel. */
export async function openListener(
  { where, plan, hop }: { where: Where; plan: ListenerPlan; hop: string },
  limits: SiteLimits,
  { agent, events, log }: ListenerDeps,
): Promise<Listener> {
  const scope = new Scope();
  const { timeout_ms, client_timeout_ms, body_max } = limits;
  const peer = "link" in plan.through ? plan.through.link : plan.through.name;
  const away: Refusal = { status: 503, text: `There is no tunnel to ${peer} now.` };
  const route = (request: IncomingMessage): Upstream => {
    const id = identified(request);
    const { pathname, search } = partsOf(request);
    const found = find(plan.routes, pathname);
    const url = new URL(found?.url ?? "http://nowhere/");
    return {
      endpoint: { host: url.hostname, port: Number(url.port || 80) },
      host: url.host,
      get agent() {
        return agent();
      },
      timeout_ms,
      client_timeout_ms,
      body_max,
      path: joined(url, search),
      says: [
        ...whoAsks(request, "http"),
        ...forwarded(request),
        ...viaOf(request, hop),
        ["X-Request-Id", id],
      ],
      refusal: found ? refusalOf(request, { found, hop, away, agent }) : NOT_FOUND,
      refusals: {
        unreachable: () => away,
        unusable: { status: 502, text: `What came from ${peer} is no answer.` },
        silent: {
          status: 504,
          text: `No answer came from ${peer} within ${timeout_ms / 1_000} s.`,
        },
      },
      reached() {},
      missed: (err) => log.debug({ err, peer, request: id }, "no answer came through the tunnel"),
      over: events.exchange({
        side: "listener",
        request: id,
        method: request.method ?? "",
        path: pathname,
        peer,
        ...(found && { target: url.host }),
      }),
    };
  };
  const forwarder = scope.use(new Forwarder(route, { client_timeout_ms, log }));
  const { connections_max, connections_per_source_max } = limits;
  const listener = scope.use(
    await listen(
      {
        ...where,
        bind: plan.bind,
        connections_max,
        connections_per_source_max,
      },
      (socket) => forwarder.accept(socket),
    ),
  );
  return { port: listener.port, [Symbol.asyncDispose]: () => scope[Symbol.asyncDispose]() };
}

const NOT_FOUND: Refusal = { status: 404, text: "Nothing is published here under this path." };

type Found = RoutePlan & { rest?: string };

/** A path as it is written, or the longest one that ends in `/*` and begins it. */
function find(routes: ListenerPlan["routes"], pathname: string): Found | undefined {
  const exact = routes.get(pathname);
  if (exact) return exact;
  const [best] = [...routes]
    .filter(([path]) => path.endsWith("/*") && pathname.startsWith(path.slice(0, -1)))
    .sort(([one], [other]) => other.length - one.length);
  if (!best) return undefined;
  const [path, plan] = best;
  const rest = pathname.slice(path.length - 1);
  // What climbs out of the published folder is not published.
  if (/(^|\/|\\|%2f|%5c)(\.|%2e){1,2}($|\/|\\|%2f|%5c)/i.test(rest)) return undefined;
  return { ...plan, url: `${plan.url.replace(/\/$/, "")}/${rest}` };
}

function refusalOf(
  request: IncomingMessage,
  { found, hop, away, agent }: { found: Found; hop: string; away: Refusal; agent(): unknown },
): Refusal | undefined {
  if (!isListed(found.ca, { address: request.socket.remoteAddress ?? "" })) {
    return { status: 403, text: "Your address may not use this." };
  }
  if (looped(request, hop)) return { status: 508, text: `The request came by ${hop} before.` };
  if ((request as { upgrade?: boolean }).upgrade && !isWebSocket(request)) {
    return { status: 501, text: "No protocol but WebSocket can be upgraded to." };
  }
  try {
    agent();
    return undefined;
  } catch (reason) {
    if (reason instanceof Fault) return away;
    throw reason;
  }
}

function isWebSocket({ method, headers }: IncomingMessage): boolean {
  const { upgrade = "", "sec-websocket-key": key = "", "sec-websocket-version": version } = headers;
  return (
    method === "GET" &&
    upgrade.toLowerCase() === "websocket" &&
    version === "13" &&
    /^[+/\dA-Za-z]{22}==$/.test(key)
  );
}

function partsOf(request: IncomingMessage): { pathname: string; search: string } {
  const path = targetOf(request)?.path ?? "/";
  const at = path.indexOf("?");
  return at < 0
    ? { pathname: path, search: "" }
    : { pathname: path.slice(0, at), search: path.slice(at) };
}

function joined({ pathname, search: own }: URL, asked: string): string {
  return `${pathname}${own}${own && asked ? asked.replace("?", "&") : asked}`;
}

/** The same as the `X-Forwarded-…` fields say, in the standard's words (RFC 7239). */
function forwarded(request: IncomingMessage): Field[] {
  const address = unmapped(request.socket.remoteAddress ?? "");
  const from = isIPv6(address) ? `"[${address}]"` : address || "unknown";
  const host = targetOf(request)?.authority ?? request.headers.host ?? "";
  const named = /^[\w.-]+$/.test(host) ? host : `"${host.replace(/["\\]/g, "")}"`;
  return [["Forwarded", `for=${from};host=${named};proto=http`]];
}

function viaOf({ headers, httpVersion }: IncomingMessage, hop: string): Field[] {
  const own = `${httpVersion} ${hop}`;
  return [["Via", headers.via ? `${headers.via}, ${own}` : own]];
}
