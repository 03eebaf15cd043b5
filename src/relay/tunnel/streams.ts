/**
 * Tunnels of version 2: connections are streams of HTTP/2, which gives each its own flow control and
 * end. In HTTP/2 only a client opens streams, so there are two sessions, one for what either side asks;
 * a byte before each message says which of them it belongs to.
 */
import {
  type ClientHttp2Session,
  connect,
  constants,
  type Http2Stream,
  performServerHandshake,
} from "node:http2";
import { Duplex } from "node:stream";
import { Fault } from "../../core/fault.ts";
import { refuseFloods } from "../../rpc/http2-floods.ts";
import { Connection } from "./connection.ts";
import type { Link } from "./link.ts";
import { type Tunnel, TunnelAgent, type TunnelDeps, type TunnelOptions } from "./tunnel.ts";

/**
 * What one stream may have on its way unread, and what all streams of a session may have on their way to
 * the other side's library, which is what a small request waits behind. A stream that nobody reads
 * holds nothing of the latter: node:http2 gives it back on arrival.
 */
const STREAM_WINDOW = 256 * 1024;
const SESSION_WINDOW = 4 * STREAM_WINDOW;
/** Bytes that may wait in a WebSocket before its writers do. */
const WAITING_MAX = 64 * 1024;
/** MiB; it has to hold the windows. */
const SESSION_MEMORY = 64;

export function openStreams(link: Link, options: TunnelOptions, deps: TunnelDeps): Tunnel {
  const { dialled, streams_max } = options;
  const [askers, servers] = [new Lane(link, dialled ? 0 : 1), new Lane(link, dialled ? 1 : 0)];
  const settings = { initialWindowSize: STREAM_WINDOW, maxConcurrentStreams: streams_max };
  const limits = { settings, maxSessionMemory: SESSION_MEMORY };
  const asking = connect("http://tunnel", { ...limits, createConnection: () => askers });
  const serving = performServerHandshake(servers, limits);
  for (const session of [asking, serving]) {
    session.on("error", (reason) => link.cut(reason.message));
    session.on("close", () => link.cut("its session ended"));
  }
  asking.once("connect", () => asking.setLocalWindowSize(SESSION_WINDOW));
  serving.setLocalWindowSize(SESSION_WINDOW);
  refuseFloods(serving);
  const connected = (stream: Http2Stream & Duplex): Connection =>
    new Connection(stream, () => stream.close(constants.NGHTTP2_CANCEL));
  serving.on("stream", (stream, { ":method": method }) => {
    if (method !== "CONNECT") {
      stream.close(constants.NGHTTP2_REFUSED_STREAM);
      return;
    }
    if (stream.destroyed) return; // taken back before we heard of it
    stream.respond({ ":status": 200 });
    deps.accept(connected(stream));
  });
  link.onMessage((message) => {
    const lane = message[0] === askers.number ? askers : servers;
    if (message.length === 0 || message[0] !== lane.number) link.cut("a message of no session");
    else lane.push(message.subarray(1));
  });
  void link.closed.then(() => {
    for (const lane of [askers, servers]) lane.destroy();
    for (const session of [asking, serving]) session.destroy();
  });
  return {
    version: 2,
    link,
    agent: new TunnelAgent(() => connected(openStream(asking)), {
      keepAlive: true,
      max: streams_max,
    }),
    async [Symbol.asyncDispose]() {
      await deps[Symbol.asyncDispose]();
      await link.close();
    },
  };
}

function openStream(session: ClientHttp2Session): Http2Stream & Duplex {
  if (session.closed || session.destroyed) throw new Fault("unreachable", "the tunnel is closed");
  return session.request({ ":method": "CONNECT", ":authority": "tunnel" });
}

/** One of the byte streams that share a WebSocket. HTTP/2 always reads it, and limits what may come. */
class Lane extends Duplex {
  readonly number: number;
  readonly #link: Link;

  constructor(link: Link, number: number) {
    super();
    this.#link = link;
    this.number = number;
    this.on("error", () => {}); // told by the session above it
  }

  override _read(): void {}

  override _write(chunk: Buffer, _: BufferEncoding, done: (reason?: Error | null) => void): void {
    this.#send([chunk], done);
  }

  override _writev(chunks: Array<{ chunk: Buffer }>, done: (reason?: Error | null) => void): void {
    this.#send(
      chunks.map(({ chunk }) => chunk),
      done,
    );
  }

  /** More may come at once while little waits to be sent: a write that waits for its end costs a turn. */
  #send(chunks: Buffer[], done: (reason?: Error | null) => void): void {
    const message = Buffer.concat([Buffer.of(this.number), ...chunks]);
    const waits = this.#link.waiting > WAITING_MAX;
    this.#link.send(message, true, waits ? done : undefined);
    if (!waits) done();
  }
}
