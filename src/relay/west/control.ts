import { type Listener, listen } from "../../net/listen.ts";
import { openHttpAcceptor } from "../../rpc/http-acceptor.ts";
import type { Peers } from "../tunnel/peers.ts";
import { addressOf, LISTENER_PORT } from "./settings.ts";
import type { Site } from "./site.ts";

const REQUEST_MS = 5_000;
const CONNECTIONS_MAX = 64;

type Neighbours = { named: Peers; dialled: Peers };
type Section = { [key: string]: unknown };

/**
 * The control page: what the configuration came to and how the tunnels are, for `wget -q -O -`, in the
 * original's form (seed-systems 1.8), and the same as `/status.json`. No secret is in it.
 */
export async function openControl(
  bind: string,
  site: Site,
  neighbours: Neighbours,
): Promise<Listener> {
  const acceptor = openHttpAcceptor(REQUEST_MS);
  acceptor.server.on("request", (request, response) => {
    const state = stateOf(site, neighbours);
    if (request.url === "/status.json") {
      response.writeHead(200, { "content-type": "application/json", connection: "close" });
      response.end(`${JSON.stringify(state)}\n`);
      return;
    }
    const body = request.method === "HEAD" ? "" : pageOf(state);
    response.socket?.end(`HTTP/1.0 200 OK\r\n\r\n${body}`);
  });
  const listener = await listen(
    { bind, setting: "west: cp", connections_max: CONNECTIONS_MAX },
    (socket) => acceptor.accept(socket),
  );
  return {
    port: listener.port,
    async [Symbol.asyncDispose]() {
      await listener[Symbol.asyncDispose]();
      await acceptor[Symbol.asyncDispose]();
    },
  };
}

function pageOf(state: Record<string, Section>): string {
  const sections = Object.entries(state).map(([name, section]) => {
    return `--- ${name} object ---\n${printed(section, "")}\n`;
  });
  return sections.join("");
}

/** As Python prints it: keys in order, four blanks, no blank behind a colon, and nothing but ASCII. */
function printed(value: unknown, indent: string): string {
  const inner = `${indent}    `;
  const wrapped = (open: string, items: string[], close: string): string =>
    items.length === 0
      ? `${open}${close}`
      : `${open}\n${items.map((each) => inner + each).join(",\n")}\n${indent}${close}`;
  if (Array.isArray(value)) {
    return wrapped(
      "[",
      value.map((each) => printed(each, inner)),
      "]",
    );
  }
  if (typeof value !== "object" || value === null) return ascii(JSON.stringify(value));
  const entries = Object.entries(value).sort(([one], [other]) => (one < other ? -1 : 1));
  const lines = entries.map(
    ([key, each]) => `${ascii(JSON.stringify(key))}:${printed(each, inner)}`,
  );
  return wrapped("{", lines, "}");
}

function ascii(text: string): string {
  return text.replace(/[\u007f-\uffff]/g, (letter) => {
    return `\\u${letter.charCodeAt(0).toString(16).padStart(4, "0")}`;
  });
}

function stateOf(site: Site, { named, dialled }: Neighbours): Record<string, Section> {
  const { name, door } = site;
  const at = (text: string, port?: number) => {
    const { host = "", port: number = 0 } = addressOf(text, port) ?? {};
    return { addr: host, port: number };
  };
  const wstc: Section = {};
  for (const [url, { name: nm, early }] of site.links)
    wstc[url] = { ee: early ? "yes" : "no", nm, ...liveOf(dialled, url) };
  const proxy: Section = {};
  for (const [url, { through, routes }] of site.listeners) {
    const by = "link" in through ? { ea: through.link } : { en: through.name };
    if ("name" in through)
      wstc[through.name] ??= { ee: "no", nm: name, ...liveOf(named, through.name) };
    const paths = [...routes].map(([path, { url: ou, ca }]) => [
      path,
      ca.length > 0 ? { ca, ou } : { ou },
    ]);
    proxy[url] = { ...at(url, LISTENER_PORT), ...by, ...Object.fromEntries(paths) };
  }
  return {
    west: {
      ...(site.control !== undefined && { ...at(site.control), cp: site.control }),
      nm: name,
    },
    wsts: door ? { ...at(door.url), sp: door.url, ...(door.ca.length > 0 && { ca: door.ca }) } : {},
    wstc,
    proxy,
  };
}

/** Where the newest tunnel leads, and what has gone over all those that are open. */
function liveOf(peers: Peers, name: string): Section {
  const counts = { rxc: 0, rxs: 0, txc: 0, txs: 0 };
  for (const { link } of peers.all(name)) {
    for (const key of Object.keys(counts) as Array<keyof typeof counts>)
      counts[key] += link.counts[key];
  }
  const { remote } = peers.pick(name)?.link ?? {};
  return { ...counts, so: remote ? [remote.host, remote.port] : "unconnected" };
}
