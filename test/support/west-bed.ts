import { once } from "node:events";
import { readdir, readFile, writeFile } from "node:fs/promises";
import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  request,
  type Server,
} from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { basename, join } from "node:path";
import { pino } from "pino";
import { openMetrics } from "../../src/core/metrics.ts";
import { loadFile } from "../../src/core/settings/load.ts";
import { openSite } from "../../src/relay/west/open.ts";
import { WestSettings } from "../../src/relay/west/settings.ts";
import { Sites } from "../../src/roles/dev/west.ts";
import { until } from "./until.ts";

type Site = Awaited<ReturnType<typeof openSite>>;
type Line = { msg: string; [field: string]: unknown };
// biome-ignore lint/suspicious/noExplicitAny: a configuration is edited as its file is
export type Edit = (configuration: any, site: string) => void;

/** The sites of one of the four cases in this process, from their files, on free ports. */
export class WestBed implements AsyncDisposable {
  readonly #sites: Sites;
  readonly #open = new Map<string, Site>();
  /** What the sites have logged. */
  readonly lines: Line[] = [];

  private constructor(sites: Sites) {
    this.#sites = sites;
  }

  static async open(folder: string, edit: Edit = () => {}): Promise<WestBed> {
    const bed = new WestBed(await Sites.found(join("settings/dev/west", folder)));
    for (const site of await bed.names()) {
      const file = join(bed.folder, `${site}.json`);
      const configuration = JSON.parse(await readFile(file, "utf8"));
      edit(configuration, site);
      await writeFile(file, JSON.stringify(configuration));
    }
    return bed;
  }

  get folder(): string {
    return this.#sites.folder;
  }

  async names(): Promise<string[]> {
    const files = await readdir(this.folder);
    return files.filter((file) => file.endsWith(".json")).map((file) => basename(file, ".json"));
  }

  port(documented: number): number {
    return this.#sites.port(documented);
  }

  async start(name: string): Promise<void> {
    const { settings } = await loadFile(WestSettings, join(this.folder, `${name}.json`), "-c");
    const log = pino(
      { level: "debug", base: { site: name } },
      { write: (line: string) => void this.lines.push(JSON.parse(line)) },
    );
    this.#open.set(name, await openSite(settings, { log, metrics: openMetrics() }));
  }

  async stop(name: string): Promise<void> {
    const site = this.#open.get(name);
    this.#open.delete(name);
    await site?.[Symbol.asyncDispose]();
  }

  async startAll(): Promise<void> {
    for (const name of await this.names()) await this.start(name);
    await this.connected();
  }

  /** Resolves once no listener misses a tunnel. */
  async connected(): Promise<void> {
    const missing = (): string[] => [...this.#open.values()].flatMap((site) => site.missing);
    await until(
      () => missing().length === 0,
      () => `there is a tunnel to ${missing()}`,
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const name of [...this.#open.keys()].reverse()) await this.stop(name);
    await this.#sites[Symbol.asyncDispose]();
  }
}

/** A server of HTTP on a port of this machine that forgets nobody at its end. */
export class Origin implements AsyncDisposable {
  readonly server: Server;
  readonly requests: IncomingMessage[] = [];

  private constructor(server: Server) {
    this.server = server;
    server.on("request", (each) => this.requests.push(each));
  }

  static async open(serve: RequestListener, port = 0): Promise<Origin> {
    const origin = new Origin(createServer(serve));
    origin.server.maxHeadersCount = 0;
    origin.server.listen(port, "127.0.0.1");
    await once(origin.server, "listening");
    return origin;
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.server.close();
    this.server.closeAllConnections();
  }
}

export type Heard = {
  status: number;
  reason: string;
  raw: string[];
  headers: IncomingMessage["headers"];
  trailers: IncomingMessage["trailers"];
  body: Buffer;
  text: string;
};

type Asking = {
  method?: string;
  headers?: Record<string, string | string[]>;
  body?: Buffer | string | AsyncIterable<Buffer>;
};

/** Asks with Node's own client on a connection of its own, and hears the whole answer. */
export async function ask(
  port: number,
  path: string,
  { body, ...options }: Asking = {},
): Promise<Heard> {
  const asking = request({ port, host: "127.0.0.1", path, agent: false, ...options });
  const answered = once(asking, "response") as Promise<[IncomingMessage]>;
  asking.on("error", () => {}); // what breaks off later, the answer tells
  if (body === undefined || typeof body === "string" || Buffer.isBuffer(body)) asking.end(body);
  else {
    void (async () => {
      for await (const chunk of body) await new Promise((resolve) => asking.write(chunk, resolve));
      asking.end();
    })().catch(() => {});
  }
  const [answer] = await answered;
  const chunks: Buffer[] = [];
  answer.on("data", (chunk: Buffer) => chunks.push(chunk));
  await once(answer, "end");
  const {
    statusCode: status = 0,
    statusMessage: reason = "",
    rawHeaders: raw,
    headers,
    trailers,
  } = answer;
  const whole = Buffer.concat(chunks);
  return { status, reason, raw, headers, trailers, body: whole, text: whole.toString() };
}

export function cut(socket: Socket | null): void {
  socket?.resetAndDestroy();
}
