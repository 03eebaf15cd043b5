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
import { fromWire, type WireResponse } from "../rpc/grpc/messages.ts";
import { type Address, formatAddress } from "../wire/address.ts";
import type { Answer } from "../wire/answer.ts";
import { REQUEST_ID_SIZE, requestOf, withRequest } from "../wire/call-id.ts";
import type { JsonObject } from "../wire/json.ts";
import { toStruct } from "../wire/struct.ts";
import { askProxy } from "./ask-proxy.ts";
import type { ConnectedPeer } from "./connected-peer.ts";
import { noMatch, pinnedNames } from "./identity.ts";
import { type Route, routeTo } from "./route.ts";
import { Timings } from "./timings.ts";
import { Turns } from "./turns.ts";

const OPEN_MS = 20_000;

/** Read whenever they are needed, because settings may be loaded again. */
type PeersOptions = {
  self: string;
  use_proxy: boolean;
  /** How long a connection is kept without a call. */
  idle_timeout_ms: number;
  /** Of each operator: calls under way, and calls that wait. */
  calls_max: number;
  waiting_max: number;
  tls: TlsMaterial;
  skip_verify: boolean;
};

type PeerCall = Address & { params: JsonObject; timings: Timings; source: string };

/** What a connection is opened for. */
type Need = { request: string; timings: Timings };

/** A connection that is kept, and what it is kept for. */
export type Peer = {
  readonly connection: GrpcConnection;
  /** The route it was opened for, as text: when the directory says another, it is not used again. */
  readonly route: string;
  /** What we show on it: when our own certificate is renewed, it is not lent again. */
  readonly tls: TlsMaterial;
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
  /** Of operators that have calls now. */
  readonly #turns = new Map<string, Turns>();
  /** Where proxies relay, as they said last, so that it can be dialled while they are asked again. */
  readonly #relays = new Map<string, string>();
  readonly #stop = new AbortController();
  readonly #unsubscribe: () => void;

  constructor(options: PeersOptions, { directory, log }: { directory: Directory; log: Log }) {
    this.#options = options;
    this.#directory = directory;
    this.#log = log;
    this.#unsubscribe = directory.onChange(() => this.#recheck());
  }

  /** Calls that wait because too many are under way to their operator. */
  get waiting(): number {
    return [...this.#turns.values()].reduce((sum, { waiting }) => sum + waiting, 0);
  }

  /** Calls another operator, when it is the turn of whoever asks for it (`source`). */
  async call(call: PeerCall, signal: AbortSignal): Promise<Answer> {
    const { operator, source } = call;
    const turns = this.#turns.get(operator) ?? new Turns(operator, this.#options);
    this.#turns.set(operator, turns);
    try {
      return await turns.take(source, signal, () => this.#call(call, signal));
    } finally {
      if (turns.isIdle) this.#turns.delete(operator);
    }
  }

  /** A call that certainly did not run is tried once more, on another connection. */
  async #call(call: PeerCall, signal: AbortSignal): Promise<Answer> {
    const { operator, method, params, timings } = call;
    const message = {
      method: `${operator}.${method}`,
      id: formatAddress(call),
      params: toStruct(params),
      clientName: this.#options.self,
    };
    const request = requestOf(call.call) ?? nanoid(REQUEST_ID_SIZE);
    const once = (): Promise<Answer> =>
      this.use(operator, { request, timings }, signal, async (peer) => {
        const { connection } = peer;
        const sent = (): Promise<WireResponse> => connection.call(message, signal);
        const response = await timings.measure("call", sent).catch((reason) => {
          if (reason instanceof SpentFault) this.#lendNoMore(operator, peer);
          throw reason;
        });
        return fromWire(response);
      });
    return await once().catch((reason) => {
      if (reason instanceof SpentFault) return once();
      throw reason;
    });
  }

  /** Lends the connection to an operator, opening it if there is none. */
  async use<T>(
    operator: string,
    need: Need,
    signal: AbortSignal,
    work: (peer: Peer) => Promise<T>,
  ): Promise<T> {
    const peer = await this.#peer(operator, need, signal);
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
  isCurrent(operator: string, peer: Peer): boolean {
    const leads = peer.route === JSON.stringify(routeTo(this.#directory.entry(operator)));
    return leads && this.#isTrusted(operator, peer);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#unsubscribe();
    this.#stop.abort(new Fault("unreachable", "the endpoint is stopping"));
    await Promise.allSettled(this.#opening.values());
    for (const [operator, peer] of this.#kept) this.#close(operator, peer);
  }

  #isTrusted(operator: string, { leaf }: Peer): boolean {
    return !leaf || pinnedNames(this.#directory, leaf).includes(operator);
  }

  /** Closes what the directory has revoked, calls and all; what it only moved may finish its calls. */
  #recheck(): void {
    this.#relays.clear();
    for (const [operator, peer] of this.#kept) {
      if (this.isCurrent(operator, peer)) continue;
      this.#kept.delete(operator);
      if (peer.users === 0 || !this.#isTrusted(operator, peer)) this.#close(operator, peer);
    }
  }

  async #peer(operator: string, need: Need, signal: AbortSignal): Promise<Peer> {
    const kept = this.#kept.get(operator);
    const ours = kept?.tls === this.#options.tls;
    if (kept?.connection.usable && ours && this.isCurrent(operator, kept)) return kept;
    if (kept) this.#kept.delete(operator);
    if (kept?.users === 0) this.#close(operator, kept);
    return await orAbort(this.#opening.get(operator) ?? this.#open(operator, need), signal);
  }

  /** Opens a connection for all who ask for it meanwhile, whether the first of them gives up or not. */
  #open(operator: string, need: Need): Promise<Peer> {
    const opening = this.#connect(operator, need)
      .then((peer) => {
        if (peer.lasting) this.#kept.set(operator, peer);
        this.#closeWhenIdle(operator, peer);
        return peer;
      })
      .finally(() => this.#opening.delete(operator));
    this.#opening.set(operator, opening);
    return opening;
  }

  #rest(operator: string, peer: Peer): void {
    if (peer.users > 0) return;
    const again = this.#kept.get(operator) === peer && peer.connection.usable;
    if (again) this.#closeWhenIdle(operator, peer);
    else this.#close(operator, peer);
  }

  #closeWhenIdle(operator: string, peer: Peer): void {
    peer.timer = setTimeout(() => {
      if (peer.users === 0) this.#close(operator, peer);
    }, this.#options.idle_timeout_ms).unref();
  }

  /** Calls under way on it go on. */
  #lendNoMore(operator: string, peer: Peer): void {
    if (this.#kept.get(operator) === peer) this.#kept.delete(operator);
  }

  #close(operator: string, peer: Peer): void {
    this.#lendNoMore(operator, peer);
    clearTimeout(peer.timer);
    peer.connection.close();
  }

  async #connect(operator: string, { request, timings }: Need): Promise<Peer> {
    using deadline = new Deadline(OPEN_MS, `reaching ${operator}`, this.#stop.signal);
    const route = routeTo(this.#directory.entry(operator));
    if (!route) {
      throw new Fault("unreachable", `the directory names no usable gRPC server for ${operator}`);
    }
    const { proxy } = route;
    const asking =
      proxy === ""
        ? Promise.resolve({ endpoint: route.address, token: undefined, lasting: true })
        : timings.measure("rendezvous", () =>
            this.#askProxy(operator, route, request, deadline.signal),
          );
    const { tls } = this.#options;
    // Its connection comes last, since that may be dialled before everything is known.
    const peer = { route: JSON.stringify(route), tls, users: 0, since: new Date() } as Peer;
    let begun = performance.now();
    const secure = async (socket: Socket, to: string): Promise<TLSSocket> => {
      const { endpoint, token } = await asking;
      if (endpoint !== to) throw new SpentFault(); // whoever is there now must not see the token
      if (socket.destroyed) {
        this.#relays.delete(proxy); // that nobody said anything for so long was not borne there
        throw new SpentFault();
      }
      const { secured, leaf } = await this.#secure(operator, socket, { tls, token });
      peer.leaf = leaf;
      secured.once("close", () => this.#lendNoMore(operator, peer));
      timings.add("connect", performance.now() - begun);
      return secured;
    };
    const dial = async (to: string): Promise<GrpcConnection> => {
      const endpoint = await orAbort(resolveEndpoint(to), deadline.signal);
      const connection = new GrpcConnection({ endpoint, name: operator }, (socket) =>
        secure(socket, to),
      );
      connection.dial();
      return connection;
    };
    const guess = proxy === "" ? route.address : this.#relays.get(proxy);
    const early = guess === undefined ? undefined : dial(guess).catch(() => undefined);
    try {
      const { endpoint, lasting } = await asking;
      begun = performance.now();
      this.#log.debug({ operator, endpoint, proxy, request }, "dialling a peer");
      if (lasting && proxy !== "") this.#relays.set(proxy, endpoint);
      const there = endpoint === guess ? await early : undefined;
      const connection = there?.usable ? there : await dial(endpoint);
      return Object.assign(peer, { connection, lasting });
    } finally {
      void early?.then((connection) => {
        if (connection !== peer.connection) connection?.close();
      });
    }
  }

  /** Asks the proxy of an operator to bring us together. */
  async #askProxy(operator: string, { proxy }: Route, request: string, signal: AbortSignal) {
    if (!this.#options.use_proxy) {
      throw new Fault("unreachable", `${operator} is only reachable via ${proxy}, useProxy is off`);
    }
    return askProxy({ operator, proxy }, this.#directory, (method, params) => {
      const call = withRequest(nanoid(), request);
      const { self: source } = this.#options;
      const asked = { operator: proxy, method, call, params, timings: new Timings(), source };
      return this.call(asked, signal);
    });
  }

  /** Shows the token if there is one, then makes sure that whoever answers is the operator. */
  async #secure(
    operator: string,
    socket: Socket,
    { tls, token }: { tls: TlsMaterial; token: Buffer | undefined },
  ): Promise<{ secured: TLSSocket; leaf: Leaf }> {
    socket.setNoDelay(); // or what TLS says would wait until the proxy has acknowledged the token
    if (token) socket.write(token);
    const { skip_verify } = this.#options;
    const secured = await connectTls(
      socket,
      tls,
      { name: operator, skip_verify },
      this.#stop.signal,
    );
    const leaf = leafOf(secured.getPeerCertificate());
    if (leaf && pinnedNames(this.#directory, leaf).includes(operator)) return { secured, leaf };
    secured.destroy();
    throw new Fault("forbidden", leaf ? noMatch(leaf) : `${operator} showed no certificate`);
  }
}
