import type { Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import { nanoid } from "nanoid";
import { Deadline, orAbort } from "../core/deadline.ts";
import { Fault } from "../core/fault.ts";
import type { Log } from "../core/log.ts";
import type { Directory } from "../directory/directory.ts";
import { resolveEndpoint } from "../net/dial.ts";
import { connectTls, type Leaf, leafOf, type TlsMaterial } from "../net/tls.ts";
import { GrpcConnection, SpentFault } from "../rpc/grpc/client.ts";
import { fromWire } from "../rpc/grpc/messages.ts";
import type { Answer } from "../wire/answer.ts";
import { isObject, type JsonObject } from "../wire/json.ts";
import { toStruct } from "../wire/struct.ts";
import type { ConnectedPeer } from "./connected-peer.ts";
import { noMatch, pinnedNames } from "./identity.ts";
import { type Route, routeTo } from "./route.ts";

/** Original servers hang up on a connection after 60 s without calls; ours are closed before that. */
const IDLE_MS = 50_000;
const OPEN_MS = 20_000;
const TOKEN_SIZE_MAX = 64;

type PeersOptions = {
  self: string;
  use_proxy: boolean;
  tls: TlsMaterial;
  skip_verify: boolean;
};

/** Where to dial, what to show there, and whether circuits through there last. */
type Way = { endpoint: string; token: Buffer | undefined; lasting: boolean };

type PeerCall = { operator: string; method: string; call: string; params: JsonObject };

/** A connection that is kept, and what it is kept for. */
export type Peer = {
  readonly connection: GrpcConnection;
  /** The route it was opened for, as text: when the directory says another, it is not used again. */
  readonly route: string;
  /** May the next call use it as well? An original proxy cuts its circuits after 5 s. */
  readonly lasting: boolean;
  /** The certificate that the other side has shown; none yet while it is being dialled. */
  leaf?: Leaf;
  users: number;
  readonly since: Date;
  timer?: NodeJS.Timeout;
};

/**
 * The connections to other operators: one for each, opened with the first call, dialled or brokered
 * by a proxy, kept while it is used, closed when it is idle.
 */
export class Peers implements AsyncDisposable {
  readonly #options: PeersOptions;
  readonly #directory: Directory;
  readonly #log: Log;
  readonly #kept = new Map<string, Peer>();
  readonly #opening = new Map<string, Promise<Peer>>();
  readonly #stop = new AbortController();

  constructor(options: PeersOptions, { directory, log }: { directory: Directory; log: Log }) {
    this.#options = options;
    this.#directory = directory;
    this.#log = log;
  }

  /** Calls another operator. A call that certainly did not run because the connection was gone is tried once more. */
  async call({ operator, method, call, params }: PeerCall, signal: AbortSignal): Promise<Answer> {
    const request = {
      method: `${operator}.${method}`,
      id: `${operator}.${method}(${call})`,
      params: toStruct(params),
      clientName: this.#options.self,
    };
    const once = (): Promise<Answer> =>
      this.use(operator, signal, async ({ connection }) =>
        fromWire(await connection.call(request, signal)),
      );
    return await once().catch((reason) => {
      if (reason instanceof SpentFault) return once();
      throw reason;
    });
  }

  /** Lends the connection to an operator, opening it if there is none. */
  async use<T>(
    operator: string,
    signal: AbortSignal,
    work: (peer: Peer) => Promise<T>,
  ): Promise<T> {
    const peer = await this.#peer(operator, signal);
    peer.users += 1;
    clearTimeout(peer.timer);
    try {
      return await work(peer);
    } finally {
      peer.users -= 1;
      this.#rest(operator, peer);
    }
  }

  /** Every connection that is kept. A reverse stream on it counts as a call. */
  list(): ConnectedPeer[] {
    return [...this.#kept]
      .filter(([, { leaf }]) => leaf !== undefined)
      .map(([operator, { route, since, users }]) => ({
        operator,
        way: "dialled",
        proxy: (JSON.parse(route) as Route).proxy,
        since: since.toISOString(),
        calls: users,
      }));
  }

  /** Does the directory still lead to this peer, and still pin the certificate that it has shown? */
  isCurrent(operator: string, { route, leaf }: Peer): boolean {
    if (route !== JSON.stringify(routeTo(this.#directory.entry(operator)))) return false;
    return !leaf || pinnedNames(this.#directory, leaf).includes(operator);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new Fault("unreachable", "the endpoint is stopping"));
    await Promise.allSettled(this.#opening.values());
    for (const [operator, peer] of this.#kept) this.#close(operator, peer);
  }

  async #peer(operator: string, signal: AbortSignal): Promise<Peer> {
    const kept = this.#kept.get(operator);
    if (kept?.connection.usable && this.isCurrent(operator, kept)) return kept;
    if (kept) this.#kept.delete(operator);
    if (kept?.users === 0) this.#close(operator, kept);
    return await orAbort(this.#opening.get(operator) ?? this.#open(operator), signal);
  }

  /** Opens a connection for all who ask for it meanwhile, whether the first of them gives up or not. */
  #open(operator: string): Promise<Peer> {
    const opening = this.#connect(operator)
      .then((peer) => {
        if (peer.lasting) this.#kept.set(operator, peer);
        this.#closeAfter(operator, peer, IDLE_MS);
        return peer;
      })
      .finally(() => this.#opening.delete(operator));
    this.#opening.set(operator, opening);
    return opening;
  }

  #rest(operator: string, peer: Peer): void {
    if (peer.users > 0) return;
    const again = this.#kept.get(operator) === peer && peer.connection.usable;
    if (again) this.#closeAfter(operator, peer, IDLE_MS);
    else this.#close(operator, peer);
  }

  #closeAfter(operator: string, peer: Peer, ms: number): void {
    peer.timer = setTimeout(() => {
      if (peer.users === 0) this.#close(operator, peer);
    }, ms).unref();
  }

  #close(operator: string, peer: Peer): void {
    if (this.#kept.get(operator) === peer) this.#kept.delete(operator);
    clearTimeout(peer.timer);
    peer.connection.close();
  }

  async #connect(operator: string): Promise<Peer> {
    using deadline = new Deadline(OPEN_MS, `reaching ${operator}`, this.#stop.signal);
    const route = routeTo(this.#directory.entry(operator));
    if (!route) {
      throw new Fault("unreachable", `the directory names no usable gRPC server for ${operator}`);
    }
    const { endpoint, token, lasting } = await this.#way(operator, route, deadline.signal);
    const address = await orAbort(resolveEndpoint(endpoint), deadline.signal);
    const connection = new GrpcConnection({ endpoint: address, name: operator }, async (socket) => {
      const { secure, leaf } = await this.#secure(operator, socket, token);
      peer.leaf = leaf;
      return secure;
    });
    const peer: Peer = {
      connection,
      route: JSON.stringify(route),
      lasting,
      users: 0,
      since: new Date(),
    };
    this.#log.debug({ operator, endpoint, proxy: route.proxy }, "dialling a peer");
    return peer;
  }

  async #way(operator: string, route: Route, signal: AbortSignal): Promise<Way> {
    const { address, proxy } = route;
    if (proxy === "") return { endpoint: address, token: undefined, lasting: true };
    if (!this.#options.use_proxy) {
      throw new Fault("unreachable", `${operator} is only reachable via ${proxy}, useProxy is off`);
    }
    const proxyRoute = routeTo(this.#directory.entry(proxy));
    if (!proxyRoute || proxyRoute.internal || proxyRoute.proxy !== "") {
      throw new Fault(
        "unreachable",
        `${proxy}, the proxy of ${operator}, cannot be dialled itself`,
      );
    }
    return await this.#askProxy(proxy, operator, signal);
  }

  /** Asks a proxy to bring us together with an operator behind it (eps-protocol 6.2). */
  async #askProxy(proxy: string, operator: string, signal: AbortSignal): Promise<Way> {
    const answer = await this.call(
      {
        operator: proxy,
        method: "requestConnection",
        call: nanoid(16),
        params: { to: operator, channel: "grpc_server" },
      },
      signal,
    );
    if ("error" in answer) {
      const { code, message } = answer.error;
      throw new Fault("failed", `${proxy} cannot connect us to ${operator}: ${message} (${code})`);
    }
    const { endpoint, token, lasting } = isObject(answer.result) ? answer.result : {};
    const bytes = Buffer.from(typeof token === "string" ? token : "", "base64");
    if (typeof endpoint !== "string" || bytes.length === 0 || bytes.length > TOKEN_SIZE_MAX) {
      throw new Fault("failed", `${proxy} answered without a token and an endpoint`);
    }
    return { endpoint, token: bytes, lasting: lasting === true };
  }

  /** Shows the token if there is one, then makes sure that whoever answers is the operator. */
  async #secure(
    operator: string,
    socket: Socket,
    token: Buffer | undefined,
  ): Promise<{ secure: TLSSocket; leaf: Leaf }> {
    if (token) socket.write(token);
    const { tls, skip_verify } = this.#options;
    const secure = await connectTls(
      socket,
      tls,
      { name: operator, skip_verify },
      this.#stop.signal,
    );
    const leaf = leafOf(secure.getPeerCertificate());
    if (leaf && pinnedNames(this.#directory, leaf).includes(operator)) return { secure, leaf };
    secure.destroy();
    throw new Fault("forbidden", leaf ? noMatch(leaf) : `${operator} showed no certificate`);
  }
}
