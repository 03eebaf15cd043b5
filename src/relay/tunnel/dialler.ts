import { EventEmitter, once } from "node:events";
import { WebSocket } from "ws";
import { Backoff, Deadline, orAbort } from "../../core/deadline.ts";
import { explain, Fault } from "../../core/fault.ts";
import { VERSION } from "../../core/package.ts";
import { Scope } from "../../core/scope.ts";
import type { LiveTls } from "../../net/live-tls.ts";
import { endpointOf, openTunnel, protocolsUpTo, READING, type TunnelSettings } from "./open.ts";
import { type Tunnel, TunnelAgent, type TunnelDeps } from "./tunnel.ts";

/** Short enough that a site that comes back is a neighbour again within two seconds. */
const LONGEST_PAUSE_MS = 1_000;
/** The library's words for a server that chose none of the sub-protocols, as an original does. */
const NO_PROTOCOL = "Server sent no subprotocol";

type DiallerSettings = TunnelSettings & {
  url: string;
  /** What we are called there. */
  name: string;
  /** Dialled at once, or only when a request needs it. */
  early: boolean;
  token?: string | undefined;
  tls?: { files: LiveTls; server_name?: string | undefined; skip_verify: boolean } | undefined;
  connect_timeout_ms: number;
};

type DiallerDeps = {
  /** What serves a new tunnel; what it needs ends with the tunnel. */
  deps(): TunnelDeps;
  joined(tunnel: Tunnel): void;
  /** Told of every attempt that failed. */
  missed(why: string): void;
};

/** Keeps a tunnel to one site, until it is disposed. */
export class Dialler implements AsyncDisposable {
  /** For requests that may wait until there is a tunnel. */
  readonly agent: TunnelAgent;
  readonly #settings: DiallerSettings;
  readonly #deps: DiallerDeps;
  readonly #scope = new Scope();
  readonly #backoff = new Backoff(LONGEST_PAUSE_MS);
  /** Tells `wanted` and `joined`. */
  readonly #told = new EventEmitter().setMaxListeners(0);
  #isWanted: boolean;
  #tunnel: Tunnel | undefined;

  constructor(settings: DiallerSettings, deps: DiallerDeps) {
    this.#settings = settings;
    this.#deps = deps;
    this.#isWanted = settings.early;
    this.agent = new TunnelAgent(() => this.#connect(), {
      keepAlive: false,
      max: settings.streams_max,
    });
    const keeping = this.#keep(this.#scope.signal);
    this.#scope.defer(() => keeping);
  }

  get url(): string {
    return this.#settings.url;
  }

  /** Somebody needs it now. */
  demand(): void {
    this.#isWanted = true;
    this.#told.emit("wanted");
    this.#backoff.hurry();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#scope[Symbol.asyncDispose]();
  }

  async #connect() {
    this.demand();
    const { connect_timeout_ms, url } = this.#settings;
    using deadline = new Deadline(connect_timeout_ms, `dialling ${url}`, this.#scope.signal);
    if (!this.#tunnel) await once(this.#told, "joined", { signal: deadline.signal });
    if (!this.#tunnel) throw new Fault("unreachable", `the tunnel to ${url} was lost again`);
    return await this.#tunnel.agent.open();
  }

  async #keep(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        if (!this.#isWanted) await once(this.#told, "wanted", { signal });
        const tunnel = await this.#dial(signal);
        this.#backoff.reset();
        this.#deps.joined(tunnel);
        this.#tunnel = tunnel;
        this.#told.emit("joined");
        await orAbort(tunnel.link.closed, signal).catch(async (reason) => {
          await tunnel[Symbol.asyncDispose]();
          throw reason;
        });
        this.#tunnel = undefined;
        this.#isWanted = this.#settings.early;
      } catch (reason) {
        if (signal.aborted) return;
        this.#deps.missed(explain(reason));
      }
      await this.#backoff.wait(signal).catch(() => {});
    }
  }

  /** Offers every version; to a server that knows of none, as an original, it comes again without. */
  async #dial(signal: AbortSignal): Promise<Tunnel> {
    const { connect_timeout_ms, url, version_max } = this.#settings;
    using deadline = new Deadline(connect_timeout_ms, `dialling ${url}`, signal);
    const protocols = protocolsUpTo(version_max);
    const socket = await this.#open(protocols, deadline.signal).catch((reason) => {
      if (!explain(reason).includes(NO_PROTOCOL)) throw reason;
      return this.#open([], deadline.signal);
    });
    const remote = endpointOf(url);
    return openTunnel(socket, { ...this.#settings, dialled: true, remote }, this.#deps.deps());
  }

  async #open(protocols: readonly string[], signal: AbortSignal): Promise<WebSocket> {
    const { url, name, token, tls, message_max } = this.#settings;
    const socket = new WebSocket(url, [...protocols], {
      ...READING,
      origin: name,
      maxPayload: message_max,
      headers: {
        "User-Agent": `eps-broker/${VERSION}`,
        ...(token && { Authorization: `Bearer ${token}` }),
      },
      ...(tls && {
        ...tls.files.current,
        rejectUnauthorized: !tls.skip_verify,
        ...(tls.server_name && { servername: tls.server_name }),
      }),
    });
    const opened = new Promise<void>((resolve, reject) => {
      socket.once("open", () => {
        socket.pause(); // until there is somebody to hear what comes first
        resolve();
      });
      socket.on("error", reject);
    });
    try {
      await orAbort(opened, signal);
      return socket;
    } catch (cause) {
      socket.on("error", () => {}).terminate();
      throw new Fault("unreachable", `no tunnel to ${url}: ${explain(cause)}`, { cause });
    }
  }
}
