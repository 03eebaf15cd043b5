import { Metadata, status } from "@grpc/grpc-js";
import { Deadline } from "../../core/deadline.ts";
import { Fault } from "../../core/fault.ts";
import type { Log } from "../../core/log.ts";
import type { Directory } from "../../directory/directory.ts";
import { dial } from "../../net/dial.ts";
import { type Listener, listen } from "../../net/listen.ts";
import type { Leaf } from "../../net/tls.ts";
import type { RpcEvents } from "../../rpc/events.ts";
import { toWire, type WireRequest, type WireResponse } from "../../rpc/grpc/messages.ts";
import { type GrpcServer, openGrpcServer, type ReverseStream } from "../../rpc/grpc/server.ts";
import { formatAddress, parseAddress } from "../../wire/address.ts";
import type { Answer } from "../../wire/answer.ts";
import { fromStruct } from "../../wire/struct.ts";
import type { Broker } from "../broker.ts";
import type { Call, Channel } from "../channel.ts";
import { noMatch, pinnedNames } from "../identity.ts";
import type { GrpcServerSettings } from "../settings.ts";
import { ConnectedClient } from "./connected-client.ts";

const DIAL_IN_MS = 5_000;
const ANNOUNCEMENT_MS = 10_000;
/** How long a caller is kept waiting while we do not know the directory yet. */
const READY_MS = 30_000;

type Dependencies = {
  self: string;
  broker: Broker;
  directory: Directory;
  rpc?: RpcEvents;
  log: Log;
};

/**
 * Where other operators reach this one: calls come in, and operators that cannot be dialled keep a
 * reverse stream here by which calls go out to them.
 */
export class GrpcServerChannel implements Channel, AsyncDisposable {
  readonly type = "grpc_server";
  readonly #deps: Dependencies;
  readonly #clients = new Map<string, ConnectedClient>();
  #server: GrpcServer | undefined;
  #listener: Listener | undefined;
  #unsubscribe = (): void => {};

  private constructor(deps: Dependencies) {
    this.#deps = deps;
  }

  static async open(settings: GrpcServerSettings, deps: Dependencies): Promise<GrpcServerChannel> {
    const channel = new GrpcServerChannel(deps);
    const server = await openGrpcServer(
      settings.tls,
      {
        call: (request, leaf, signal) => channel.#answer(request, leaf, signal),
        reverse: (stream, leaf) => channel.#register(stream, leaf),
      },
      { log: deps.log, events: deps.rpc },
    );
    channel.#server = server;
    channel.#unsubscribe = deps.directory.onChange(() => channel.#endRevoked());
    channel.#listener = await listen(
      {
        bind: settings.bind_address,
        setting: "channels: grpc_server: bind_address",
        get rate_limits() {
          return settings.tcp_rate_limits;
        },
      },
      (socket) => server.accept(socket),
    );
    return channel;
  }

  reaches(operator: string): boolean {
    return this.#clients.has(operator);
  }

  async deliver({ address, params }: Call, signal: AbortSignal): Promise<Answer> {
    const client = this.#clients.get(address.operator);
    if (!client) throw new Fault("unreachable", "client disconnected");
    return await client.call({ address, params, from: this.#deps.self }, signal);
  }

  /**
   * Dials a proxy that has somebody for us, shows the token and serves whoever is behind it as if it
   * had dialled us (eps-protocol 6.3). Resolves once the token is written.
   */
  async dialIn(endpoint: string, token: Buffer, signal: AbortSignal): Promise<void> {
    using deadline = new Deadline(DIAL_IN_MS, `dialling ${endpoint}`, signal);
    const socket = await dial(endpoint, deadline.signal);
    await new Promise<void>((resolve, reject) => {
      socket.once("error", reject);
      socket.write(token, (error) => (error ? reject(error) : resolve()));
    });
    this.#server?.accept(socket);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#unsubscribe();
    await this.#listener?.[Symbol.asyncDispose]();
    for (const client of this.#clients.values()) client.end(status.UNAVAILABLE, "stopping");
    await this.#server?.[Symbol.asyncDispose]();
  }

  async #answer(request: WireRequest, leaf: Leaf, hungUp: AbortSignal): Promise<WireResponse> {
    const { broker, directory } = this.#deps;
    using patience = new Deadline(READY_MS, "the directory", hungUp);
    await directory.ready(patience.signal);
    const names = pinnedNames(directory, leaf);
    const caller = request.clientName === "" ? names[0] : request.clientName;
    if (!caller || !names.includes(caller))
      throw new Fault("forbidden", noMatch(leaf, names, caller));
    const message = { address: addressOf(request), params: fromStruct(request.params), caller };
    return toWire(request.id, await broker.deliver(message, hungUp));
  }

  #register(stream: ReverseStream, leaf: Leaf): void {
    const { directory, log } = this.#deps;
    const silence = setTimeout(() => {
      stream.emit("error", { code: status.DEADLINE_EXCEEDED, details: "no announcement came" });
    }, ANNOUNCEMENT_MS);
    stream
      .once("close", () => clearTimeout(silence))
      .once("cancelled", () => clearTimeout(silence));
    stream.once("data", (announcement: WireResponse) => {
      clearTimeout(silence);
      const { name } = fromStruct(announcement.result);
      const names = pinnedNames(directory, leaf);
      if (typeof name !== "string" || !names.includes(name)) {
        const details = `invalid client name supplied: ${noMatch(leaf, names, String(name))}`;
        stream.emit("error", { code: status.UNKNOWN, details });
        return;
      }
      const client = new ConnectedClient(name, leaf, stream);
      const older = this.#clients.get(name);
      this.#clients.set(name, client);
      stream.sendMetadata(new Metadata()); // tells the client at once that it is connected
      older?.end(status.ABORTED, "replaced by a newer stream of the same operator");
      log.info({ operator: name }, "reverse stream accepted");
      void client.closed.then(() => {
        // A newer stream may have taken this one's place; then that one stays.
        if (this.#clients.get(name) !== client) return;
        this.#clients.delete(name);
        log.info({ operator: name }, "reverse stream gone");
      });
    });
  }

  /** A certificate that the directory no longer pins ends the streams and connections it opened. */
  #endRevoked(): void {
    const { directory } = this.#deps;
    for (const client of this.#clients.values()) {
      if (pinnedNames(directory, client.leaf).includes(client.name)) continue;
      client.end(status.UNAUTHENTICATED, "the directory no longer pins the certificate");
    }
    this.#server?.recheck((leaf) => pinnedNames(directory, leaf).length > 0);
  }
}

/** Permission is checked for the method in the id, so a request whose `method` says another is refused. */
export function addressOf({ id, method }: WireRequest): Call["address"] {
  const address = parseAddress(id);
  if (method !== `${address.operator}.${address.method}`) {
    throw new Fault("malformed", `id ${formatAddress(address)} and method ${method} do not agree`);
  }
  return address;
}
