import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { CASES } from "../../src/roles/dev/west.ts";
import { until } from "../support/until.ts";
import { ask, cut, Origin, WestBed } from "../support/west-bed.ts";

const CLIENTS = 6;
const TIMEOUT_S = 1.5;
/** Deadlines of a request, one after the other, and much patience with a slow machine. */
const HANGS_MS = 15_000;
const BYTES = randomBytes(300_000);

/** A network between two ends of a tunnel, which can be made bad. */
class Network implements AsyncDisposable {
  /** What it does to bytes and to whoever comes. */
  mode: "fine" | "stalled" | "crumbling" | "away" = "fine";
  /** Connections that were made. */
  made = 0;
  target = 0;
  readonly #server: Server = createServer({ allowHalfOpen: true }, (socket) => this.#enter(socket));
  readonly #sockets = new Set<Socket>();

  static async open(): Promise<Network> {
    const network = new Network();
    network.#server.listen(0, "127.0.0.1");
    await once(network.#server, "listening");
    return network;
  }

  get port(): number {
    return (this.#server.address() as { port: number }).port;
  }

  /** Resets everything that goes through it. */
  cut(): void {
    for (const socket of this.#sockets) cut(socket);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.close();
    this.cut();
  }

  #enter(socket: Socket): void {
    this.made += 1;
    if (this.mode === "away") {
      cut(socket);
      return;
    }
    const other = connect({ port: this.target, host: "127.0.0.1", allowHalfOpen: true });
    for (const [from, to] of [
      [socket, other],
      [other, socket],
    ] as const) {
      this.#sockets.add(from);
      from.setNoDelay();
      from
        .on("error", () => {})
        .once("close", () => {
          this.#sockets.delete(from);
          cut(to);
        });
      from.on("data", (chunk) => void this.#pass(chunk, from, to));
    }
  }

  async #pass(chunk: Buffer, from: Socket, to: Socket): Promise<void> {
    from.pause();
    if (this.mode === "stalled") return; // and reads no more
    const size = this.mode === "crumbling" ? 1_000 : chunk.length;
    for (let at = 0; at < chunk.length && !to.destroyed; at += size) {
      to.write(chunk.subarray(at, at + size));
      if (size < chunk.length) await new Promise(setImmediate);
    }
    if (to.writableNeedDrain) await Promise.race([once(to, "drain"), once(to, "close")]);
    from.resume();
  }
}

/** The side that asks dials in the first case, the side that is asked in the second. */
const TUNNELS = CASES.slice(0, 2).map((each, i) => ({ ...each, version: 2 - i }));

describe.each(TUNNELS)("a bad network in $folder by version $version", (tunnel) => {
  let network: Network;
  let origin: Origin;
  let bed: WestBed;

  beforeAll(async () => {
    network = await Network.open();
    bed = await WestBed.open(tunnel.folder, (configuration, site) => {
      const limits = { timeout: TIMEOUT_S, ping_interval: 0.2, connect_timeout: 1 };
      configuration.west.limits = { ...limits, version_max: tunnel.version };
      if (site !== "l") return;
      const [there = ""] = Object.keys(configuration.wstc);
      network.target = Number(new URL(there).port);
      const through = `ws://127.0.0.1:${network.port}`;
      configuration.wstc = { [through]: {} };
      for (const listener of Object.values<{ ea?: string }>(configuration.proxy))
        if (listener.ea) listener.ea = through;
    });
    origin = await Origin.open((_, response) => {
      response.writeHead(200, { "content-length": BYTES.length }).end(BYTES);
    }, bed.port(tunnel.server));
    await bed.startAll();
  });

  afterAll(async () => {
    await bed?.[Symbol.asyncDispose]();
    await origin?.[Symbol.asyncDispose]();
    await network?.[Symbol.asyncDispose]();
  });

  const askWhole = async (): Promise<number> => {
    const { status, body } = await ask(bed.port(tunnel.ask.port), tunnel.ask.path);
    if (status === 200 && !body.equals(BYTES)) throw new Error("an answer that looks whole is not");
    return status;
  };

  it.each([
    { what: "it cuts", spoil: () => network.cut() },
    {
      what: "it is away for a while",
      spoil: () => {
        network.mode = "away";
        network.cut();
      },
    },
    {
      what: "it brings nothing any more",
      spoil: () => {
        network.mode = "stalled";
      },
    },
    {
      what: "it crumbles what it brings, and then cuts",
      spoil: async () => {
        network.mode = "crumbling";
        const { length } = origin.requests;
        await until(() => origin.requests.length > length + CLIENTS, "requests go on");
        network.cut();
      },
    },
  ])("leaves no request without an answer when $what", { timeout: 60_000 }, async ({ spoil }) => {
    const statuses = new Map<number, number>();
    let slowest_ms = 0;
    let stop = false;
    const load = Array.from({ length: CLIENTS }, async () => {
      while (!stop) {
        const began = performance.now();
        // Version 2 sends on what it has, so that an answer may break off, which is seen.
        const status = await askWhole().catch((reason) => {
          if (reason.code === "ECONNRESET" || reason.message === "aborted") return 0;
          throw reason;
        });
        slowest_ms = Math.max(slowest_ms, performance.now() - began);
        statuses.set(status, (statuses.get(status) ?? 0) + 1);
        if (status !== 200) await new Promise((resolve) => setTimeout(resolve, 20));
      }
    });
    const { made } = network;
    await until(() => (statuses.get(200) ?? 0) >= CLIENTS, "requests come through");
    await spoil();
    await until(() => [...statuses.keys()].some((status) => status !== 200), "some fail");
    network.mode = "fine";
    await until(() => network.made > made, "the tunnel is dialled again");
    const { length } = origin.requests;
    await until(() => origin.requests.length > length + CLIENTS, "requests come through again");
    stop = true;
    await Promise.all(load);
    expect([0, 200, 502, 503, 504]).toEqual(expect.arrayContaining([...statuses.keys()]));
    if (tunnel.version === 1) expect(statuses.get(0), "broken off").toBeUndefined();
    expect(slowest_ms).toBeLessThan(HANGS_MS);
  });
});
