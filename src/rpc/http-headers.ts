import type { IncomingMessage } from "node:http";

/** One field of a header or a trailer, spelt as it came. */
export type Field = [name: string, value: string];

/** Fields between two neighbours, which end at each of them (RFC 9110 7.6.1). Also all of `Proxy-…`. */
const HOP_BY_HOP = new Set([
  "connection",
  "keep-alive",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);

/** Fields that decide where a message ends and whom it is for: `Connection` may not name them away. */
const FRAMING = new Set(["content-length", "host"]);

/** Methods whose requests have no body unless they say so (RFC 9110 8.6). */
const BODYLESS = new Set(["GET", "HEAD", "DELETE", "OPTIONS", "TRACE"]);

export type Refusal = { status: number; text: string };

/** The fields meant for the other end, in order and repeated where they were. `raw` is name, value, name, value. */
export function endToEnd(raw: readonly string[]): Field[] {
  const fields = pairs(raw);
  const named = new Set(
    fields
      .filter(([name]) => name.toLowerCase() === "connection")
      .flatMap(([, value]) => value.toLowerCase().split(","))
      .map((name) => name.trim()),
  );
  return fields.filter(([field]) => {
    const name = field.toLowerCase();
    if (HOP_BY_HOP.has(name) || name.startsWith("proxy-")) return false;
    return FRAMING.has(name) || !named.has(name);
  });
}

/** Trailers, less what must not come behind a body: framing, routing and what only we may say (RFC 9110 6.5.1). */
export function trailersOf(message: IncomingMessage): Field[] {
  return endToEnd(message.rawTrailers).filter(([name]) => {
    return !FRAMING.has(name.toLowerCase()) && !isForwarding(name);
  });
}

/** What a request's header becomes for the server, flat, as node:http takes it. See `Upstream.says`. */
export function forwardedHeaders(
  request: IncomingMessage,
  {
    host,
    upgrades,
    says,
  }: { host: string; upgrades: boolean; says?: readonly Field[] | undefined },
): string[] {
  const ours = new Set(says?.map(([name]) => name.toLowerCase()));
  const fields: Field[] = [
    ["Host", host],
    ...endToEnd(request.rawHeaders).filter(([name]) => {
      if (name.toLowerCase() === "host") return false;
      return says === undefined || !(isForwarding(name) || ours.has(plain(name)));
    }),
    ...(says ?? []),
  ];
  if (upgrades) fields.push(["Connection", "Upgrade"], ["Upgrade", request.headers.upgrade ?? ""]);
  if (request.headers["transfer-encoding"]) fields.push(["Transfer-Encoding", "chunked"]);
  else if (!hasBody(request) && !BODYLESS.has(request.method ?? "")) {
    // Without it node:http would announce a body in chunks, which some servers refuse.
    if (request.headers["content-length"] === undefined) fields.push(["Content-Length", "0"]);
  }
  return fields.flat();
}

/** Who asks, by what name and how, for a server that sees only us. */
export function whoAsks(request: IncomingMessage, proto: "http" | "https"): Field[] {
  const fields: Field[] = [];
  const host = targetOf(request)?.authority ?? request.headers.host;
  if (host !== undefined) fields.push(["X-Forwarded-Host", host]);
  const from = request.socket.remoteAddress;
  if (from) fields.push(["X-Forwarded-For", from.replace(/^::ffff:(?=[\d.]+$)/i, "")]);
  fields.push(["X-Forwarded-Proto", proto]);
  return fields;
}

/** Says who asked and by what name. Some servers take `_` for `-`, so those spellings count too. */
function isForwarding(name: string): boolean {
  return /^(forwarded|x-forwarded-.*|x-real-ip)$/.test(plain(name));
}

function plain(name: string): string {
  return name.toLowerCase().replaceAll("_", "-");
}

export function hasBody({ headers }: IncomingMessage): boolean {
  return headers["transfer-encoding"] !== undefined || Number(headers["content-length"] ?? 0) > 0;
}

/**
 * Is the message framed in a way that we can hand on? node:http undoes `chunked` and nothing else. An
 * answer that has no body must not announce one (RFC 9110 15.3.5).
 */
export function isPlainlyFramed({ headers, statusCode }: IncomingMessage): boolean {
  if (statusCode === 204 && Number(headers["content-length"] ?? 0) > 0) return false;
  return /^(chunked)?$/i.test(headers["transfer-encoding"] ?? "");
}

/**
 * The path to ask for. A whole URL is allowed where a path is usual, and then its authority counts
 * and `Host` does not (RFC 9112 3.2.2). Undefined for anything else.
 */
export function targetOf({
  url = "",
}: IncomingMessage): { path: string; authority?: string } | undefined {
  if (url.startsWith("/") || url === "*") return { path: url };
  const [, authority = "", path = ""] = /^https?:\/\/([^/?#]+)(.*)$/i.exec(url) ?? [];
  if (authority === "") return undefined;
  return {
    path: path.startsWith("/") ? path : `/${path}`,
    authority: authority.replace(/^.*@/, ""),
  };
}

/** Why a request that the parser let through is not passed on, if it is not. */
export function refusalOf(request: IncomingMessage, upgrades: boolean): Refusal | undefined {
  const { headers, rawHeaders, httpVersion } = request;
  const coded = headers["transfer-encoding"] !== undefined;
  const hosts = pairs(rawHeaders).filter(([name]) => name.toLowerCase() === "host");
  if (!targetOf(request)) return { status: 400, text: "The request's target is not a path." };
  if (hosts.length > 1) return { status: 400, text: "The request has more than one Host." };
  // RFC 9112 6.1 and 6.3: two lengths are an attempt to smuggle, and HTTP/1.0 has no codings.
  if (coded && (headers["content-length"] !== undefined || httpVersion === "1.0")) {
    return { status: 400, text: "The request's length is ambiguous." };
  }
  if (!isPlainlyFramed(request)) {
    return { status: 501, text: "No Transfer-Encoding but chunked is understood." };
  }
  if (upgrades && hasBody(request)) {
    return { status: 501, text: "A request to upgrade cannot have a body." };
  }
  return undefined;
}

function pairs(raw: readonly string[]): Field[] {
  const fields: Field[] = [];
  for (let at = 0; at + 1 < raw.length; at += 2) fields.push([raw[at] ?? "", raw[at + 1] ?? ""]);
  return fields;
}
