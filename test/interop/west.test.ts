import { randomBytes } from "node:crypto";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import type { IncomingMessage, ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import { afterAll, beforeAll, expect, it } from "vitest";
import { WebSocketServer } from "ws";
import { CASES } from "../../src/roles/dev/west.ts";
import { loaded } from "../support/chromium.ts";
import {
  type Asking,
  CLIENTS,
  curl,
  type Heard,
  spelt,
  understood,
} from "../support/http-clients.ts";
import { Nginx } from "../support/nginx.ts";
import { describeWith } from "../support/tools.ts";
import { until } from "../support/until.ts";
import { cut, Origin, WestBed } from "../support/west-bed.ts";

const BYTES = Buffer.from(Array.from({ length: 100_000 }, (_, i) => (i * 7 + (i >> 8)) % 256));
const WORDS = Buffer.from(Array.from({ length: 2_000 }, (_, i) => `line ${i} of words\n`).join(""));
const LARGE = randomBytes(20 * 1024 * 1024);
const TIMEOUT_S = 3;

type Row = {
  what: string;
  asks: Asking;
  hears: {
    status: number;
    /** All there are of these names. */
    headers?: Heard["headers"];
    body?: Buffer | string | ((heard: Heard) => string);
  };
};

/** What is asked, and what everybody has to hear. `of` makes names that nobody else uses. */
function rowsOf(version: number, of: string): Row[] {
  const kept = `kept/${of}.bin`;
  const posted = { path: "live/echo", method: "POST", body: BYTES };
  return [
    {
      what: "a file",
      asks: { path: "bytes.bin" },
      hears: {
        status: 200,
        headers: [["content-type", "application/octet-stream"], ...lengthOf(BYTES)],
        body: BYTES,
      },
    },
    {
      what: "its header alone",
      asks: { path: "bytes.bin", method: "HEAD" },
      hears: { status: 200, headers: lengthOf(BYTES), body: "" },
    },
    {
      what: "a part of it",
      asks: { path: "bytes.bin?part", headers: { Range: "bytes=1000-1999" } },
      hears: {
        status: 206,
        headers: [["content-range", "bytes 1000-1999/100000"]],
        body: BYTES.subarray(1_000, 2_000),
      },
    },
    {
      what: "several parts of it",
      asks: { path: "bytes.bin?parts", headers: { Range: "bytes=0-9,500-509" } },
      hears: { status: 206, body: partsOf },
    },
    {
      what: "a part that it does not have",
      asks: { path: "bytes.bin?beyond", headers: { Range: "bytes=100000-" } },
      hears: { status: 416, headers: [["content-range", "bytes */100000"]] },
    },
    {
      what: "what is compressed on its way",
      asks: { path: "words.txt", headers: { "Accept-Encoding": "gzip" } },
      hears: { status: 200, headers: [["content-encoding", "gzip"]], body: WORDS },
    },
    {
      what: "what it knows already",
      asks: {
        path: "bytes.bin?known",
        headers: { "If-Modified-Since": "Fri, 01 Jan 2100 00:00:00 GMT" },
      },
      hears: { status: 304, body: "" },
    },
    {
      what: "what is elsewhere",
      asks: { path: "live/moved", follows: false },
      hears: { status: 301, headers: [["location", "../bytes.bin"]], body: "it moved" },
    },
    {
      what: "what is elsewhere, there too",
      asks: { path: "moved", follows: true },
      hears: { status: 200, headers: lengthOf(BYTES), body: BYTES },
    },
    {
      what: "what is not there",
      asks: { path: "none.such" },
      hears: { status: 404, body: "nothing of that kind" },
    },
    { what: "nothing", asks: { path: "none" }, hears: { status: 204, body: "" } },
    {
      what: "cookies",
      asks: { path: `cookies?of=${of}` },
      hears: {
        status: 200,
        headers: [
          ["set-cookie", `a${of}=1`],
          ["set-cookie", `b${of}=2, c`],
        ],
        body: "cookies",
      },
    },
    {
      what: "a place to keep something",
      asks: { path: kept, method: "PUT", body: BYTES },
      hears: { status: 201 },
    },
    { what: "what was kept", asks: { path: kept }, hears: { status: 200, body: BYTES } },
    { what: "it to be forgotten", asks: { path: kept, method: "DELETE" }, hears: { status: 204 } },
    { what: "what was forgotten", asks: { path: kept }, hears: { status: 404 } },
    {
      what: "an echo by its length",
      asks: posted,
      hears: { status: 200, headers: [["x-method", "POST"]], body: BYTES },
    },
    {
      what: "an echo by chunks",
      asks: { ...posted, chunked: true },
      hears: { status: 200, headers: [["x-method", "POST"]], body: BYTES },
    },
    {
      what: "events",
      asks: { path: "live/events" },
      hears: { status: 200, headers: [["content-type", "text/event-stream"]], body: EVENTS },
    },
    // A message is whole or none, a stream shows what there is before it breaks.
    {
      what: "what breaks off",
      asks: { path: "live/break" },
      hears: { status: version === 1 ? 502 : 0 },
    },
    { what: "a file afterwards", asks: { path: "bytes.bin" }, hears: { status: 200, body: BYTES } },
  ];
}

const EVENTS = "data: one\n\ndata: two\n\n";

function lengthOf(bytes: Buffer): Heard["headers"] {
  return [["content-length", String(bytes.length)]];
}

function partsOf({ headers }: Heard): string {
  const [, type = ""] = headers.find(([name]) => name === "content-type") ?? [];
  const boundary = /^multipart\/byteranges; boundary=(\w+)$/.exec(type)?.[1];
  const parts = [0, 500].map((at) => {
    const head = `Content-Type: application/octet-stream\r\nContent-Range: bytes ${at}-${at + 9}/100000`;
    return `\r\n--${boundary}\r\n${head}\r\n\r\n${BYTES.toString("latin1", at, at + 10)}`;
  });
  return `${parts.join("")}\r\n--${boundary}--\r\n`;
}

/** Fields of one name stay in their order. */
function byName(headers: Heard["headers"]): Heard["headers"] {
  return [...headers].sort(([one], [other]) => one.localeCompare(other));
}

function expectAll(
  { name, rows }: { name: string; rows: readonly Row[] },
  heard: readonly Heard[],
): void {
  expect(heard).toHaveLength(rows.length);
  for (const [i, { what: asked, hears }] of rows.entries()) {
    const what = `${name} asks for ${asked}`;
    const { status, headers, body, why } = heard[i] as Heard;
    expect({ what, status, ...(status !== hears.status && { why, body: `${body}` }) }).toEqual({
      what,
      status: hears.status,
    });
    const names = new Set(hears.headers?.map(([name]) => name));
    const told = headers.filter(([name]) => names.has(name));
    expect(byName(told), what).toEqual(byName(hears.headers ?? []));
    if (hears.body === undefined) continue;
    const expected = typeof hears.body === "function" ? hears.body(heard[i] as Heard) : hears.body;
    const bytes = Buffer.isBuffer(expected) ? expected : Buffer.from(expected, "latin1");
    expect(body.equals(bytes), `${what}: ${body.length} of ${bytes.length} bytes`).toBe(true);
  }
}

const TUNNELS = CASES.flatMap((each) =>
  [1, 2].map((version) => ({ ...each, version, of: `${each.folder}-v${version}` })),
);

/** In a frame for each tunnel. Its picture comes with its report, by no tunnel, and until then nothing is loaded. */
const PAGE = `<!doctype html><script>
  const of = location.search, base = new URL("..", location).href;
  document.write('<img src="http://127.0.0.1:' + location.hash.slice(1) + "/live/picture" + of + '">');
  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const text = (bytes) => btoa(Array.from(bytes, (each) => String.fromCharCode(each)).join(""));
  async function ask({ path, method, headers, body }) {
    try {
      const asking = { method, headers, cache: "no-store", ...(body && { body: bytes(body) }) };
      const answer = await fetch(base + path, asking);
      const whole = new Uint8Array(await answer.arrayBuffer());
      return { status: answer.status, headers: [...answer.headers], body: text(whole) };
    } catch (why) {
      return { status: 0, headers: [], body: "", why: String(why) };
    }
  }
  const listen = () => new Promise((done) => {
    const source = new EventSource("events" + of), heard = [];
    source.onerror = () => done("nothing");
    source.onmessage = ({ data }) => {
      heard.push(data);
      if (heard.length === 1) return fetch("heard" + of);
      source.close();
      done(heard.join());
    };
  });
  const speak = () => new Promise((done) => {
    const socket = new WebSocket(base.replace("http", "ws") + "live/socket");
    socket.binaryType = "arraybuffer";
    socket.onerror = () => done("");
    socket.onopen = () => socket.send(Uint8Array.from({ length: 70_000 }, (_, i) => i * 7));
    socket.onmessage = ({ data }) => done(text(new Uint8Array(data)));
  });
  (async () => {
    const beside = Promise.all([listen(), speak()]);
    const heard = [];
    for (const asking of await (await fetch("rows" + of)).json()) heard.push(await ask(asking));
    const [events, spoken] = await beside;
    const report = { heard, events, spoken, cookies: document.cookie };
    await fetch("report" + of, { method: "POST", body: JSON.stringify(report) });
  })();
</script>`;

/** What nginx passes on: echoes, events, what breaks, and the pages of the browser. */
class Live {
  /** Streams of events, and those that have been left. */
  readonly events = new Map<string, ServerResponse>();
  readonly left = new Set<string>();
  readonly reports = new Map<string, string>();
  readonly #pictures = new Map<string, ServerResponse>();
  rows: (of: string) => string = () => "[]";
  frames: readonly string[] = [];

  serve = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const { pathname, searchParams } = new URL(request.url ?? "", "http://live");
    const of = searchParams.get("of") ?? "";
    const page = (html: string): unknown =>
      response.writeHead(200, { "content-type": "text/html" }).end(html);
    switch (pathname) {
      case "/live/echo":
        response.setHeader("x-method", request.method ?? "");
        return void response.end(await buffer(request));
      case "/live/moved":
        return void response.writeHead(301, { location: "../bytes.bin" }).end("it moved");
      case "/live/break":
        response.writeHead(200, { "content-length": 1_000 }).write("not all");
        return void setImmediate(() => cut(request.socket));
      case "/live/silent":
        return;
      case "/live/events":
        response.writeHead(200, { "content-type": "text/event-stream" });
        if (of === "") return void response.end(EVENTS);
        response.write("data: one\n\n");
        response.once("close", () => this.left.add(of));
        return void this.events.set(of, response);
      case "/live/heard":
        this.events.get(of)?.write("data: two\n\n");
        return void response.end();
      case "/live/rows":
        return void response.end(this.rows(of));
      case "/live/report":
        this.reports.set(of, (await buffer(request)).toString());
        this.#pictures.get(of)?.end();
        return void response.end();
      case "/live/picture":
        return void this.#pictures.set(of, response);
      case "/live/page":
        return void page(PAGE);
      default:
        page(this.frames.map((url) => `<iframe src="${url}"></iframe>`).join(""));
    }
  };
}

describeWith(
  ["chromium", "curl", "nginx", "wget", "python3"],
  "clients and servers of others",
  () => {
    const live = new Live();
    const beds = new Map<string, WestBed>();
    let backend: Origin;
    let nginx: Nginx;
    const baseOf = ({ of, ask: { port, path } }: (typeof TUNNELS)[number]): string =>
      `http://127.0.0.1:${beds.get(of)?.port(port)}${path}/`;

    beforeAll(async () => {
      for (const { of, folder, version } of TUNNELS) {
        const bed = await WestBed.open(folder, ({ west, proxy }) => {
          west.limits = { version_max: version, timeout: TIMEOUT_S };
          for (const listener of Object.values<Record<string, object>>(proxy)) {
            const [path = ""] = Object.keys(listener).filter((key) => key.startsWith("/"));
            listener[`${path}/*`] = listener[path] as object;
          }
        });
        beds.set(of, bed);
      }
      backend = await Origin.open(live.serve);
      const echo = new WebSocketServer({ server: backend.server });
      echo.on("connection", (socket) => socket.on("message", (data) => socket.send(data)));
      nginx = await Nginx.open({
        ports: TUNNELS.map(({ of, server }) => beds.get(of)?.port(server) ?? 0),
        files: {
          "bytes.bin": BYTES,
          "words.txt": WORDS,
          "missing.txt": Buffer.from("nothing of that kind"),
        },
        live: backend.port,
      });
      for (const bed of beds.values()) await bed.startAll();
    });

    afterAll(async () => {
      for (const bed of beds.values()) await bed[Symbol.asyncDispose]();
      await nginx?.[Symbol.asyncDispose]();
      await backend?.[Symbol.asyncDispose]();
    });

    it.each(TUNNELS)("understand each other in $folder by version $version", async (tunnel) => {
      const asking = CLIENTS.map(async ({ name, ask, can }) => {
        const rows = rowsOf(tunnel.version, `${tunnel.of}-${name}`).filter(({ asks }) => can(asks));
        expectAll(
          { name, rows },
          await ask(
            baseOf(tunnel),
            rows.map(({ asks }) => asks),
          ),
        );
      });
      await Promise.all(asking);
    });

    it.each(TUNNELS)("upload 20 MB in $folder by version $version", async (tunnel) => {
      const path = `kept/large-${tunnel.of}.bin`;
      const [heard] = await curl.ask(baseOf(tunnel), [{ path, method: "PUT", body: LARGE }]);
      expect(heard?.status).toBe(201);
      expect((await readFile(join(nginx.kept, `large-${tunnel.of}.bin`))).equals(LARGE)).toBe(true);
    });

    it.each(TUNNELS.filter(({ version }) => version === 2))(
      "hear events as they come, and are missed when they leave, in $folder",
      async (tunnel) => {
        const listening = CLIENTS.map(async ({ name, listen }) => {
          const of = `${tunnel.of}-${name}`;
          const { text, leave } = listen(
            `${baseOf(tunnel)}live/events?of=${encodeURIComponent(of)}`,
          );
          await until(() => text() === "data: one\n\n", `${name} hears the first`);
          live.events.get(of)?.write("data: two\n\n");
          await until(() => text() === EVENTS, `${name} hears the second`);
          leave();
          await until(() => live.left.has(of), `${name} is missed`);
        });
        await Promise.all(listening);
      },
    );

    it.concurrent("hear of a server that is silent", async () => {
      const asking = TUNNELS.flatMap((tunnel) =>
        CLIENTS.map(async ({ name, ask }) => {
          const [heard] = await ask(baseOf(tunnel), [{ path: "live/silent" }]);
          return `${tunnel.of} ${name} ${heard?.status}`;
        }),
      );
      const expected = TUNNELS.flatMap(({ of }) => CLIENTS.map(({ name }) => `${of} ${name} 504`));
      expect(await Promise.all(asking)).toEqual(expected);
    });

    it.concurrent("understand each other: Chromium and nginx, through all tunnels", {
      timeout: 90_000,
    }, async () => {
      /** A browser shows no redirect, no cookie and what is compressed by its own word, and sends no chunks. */
      const rowsFor = (version: number, of: string) =>
        rowsOf(version, of).filter(
          ({ asks, hears }) =>
            !asks.chunked &&
            asks.follows !== false &&
            !hears.headers?.some(([name]) => name === "set-cookie") &&
            asks.headers?.["Accept-Encoding"] === undefined,
        );
      const home = await mkdtemp(join(tmpdir(), "chromium-"));
      live.rows = (of) => spelt(rowsFor(Number(of.at(-1)), of).map(({ asks }) => asks));
      live.frames = TUNNELS.map(
        (tunnel) => `${baseOf(tunnel)}live/page?of=${tunnel.of}#${backend.port}`,
      );
      try {
        await loaded(`http://127.0.0.1:${backend.port}/`, { home });
      } finally {
        await rm(home, { recursive: true, force: true, maxRetries: 5 });
      }
      for (const { of, version } of TUNNELS) {
        const { heard, ...rest } = JSON.parse(live.reports.get(of) ?? "{}");
        expectAll({ name: of, rows: rowsFor(version, of) }, understood(JSON.stringify(heard)));
        const said = Buffer.from(Array.from({ length: 70_000 }, (_, i) => (i * 7) % 256));
        expect(rest).toMatchObject(
          version === 1
            ? { events: "nothing", spoken: "" }
            : { events: "one,two", spoken: said.toString("base64") },
        );
      }
    });
  },
);
