import * as zmq from "zeromq";
import { until } from "./until.ts";

/*
 * Peers of CAMEO's proxies on real libzmq sockets, written from seed-systems 4.3 to 4.6 alone: a server
 * with the requests that the tests need, requesters and responders.
 */

const PATIENCE_MS = 15_000;
export const PUBLISHER = "publisher-55845880-56e9-4ad6-bea1-e84395c90b32-";
const RESPONDER = "responder-676e576d-6102-42d8-ae24-222a7000dfa0-";

/** `responder-<uuid>-<name>:<application>`. */
export function responderName(name: string, application: number): string {
  return `${RESPONDER}${name}:${application}`;
}

type Frames = Array<string | Buffer>;
type CurveKeys = { server: string; own: ReturnType<typeof zmq.curveKeyPair> };

function curveOf(keys: CurveKeys | undefined) {
  if (!keys) return {};
  const { server, own } = keys;
  return {
    curveServerKey: server,
    curvePublicKey: own.publicKey,
    curveSecretKey: own.secretKey,
  };
}

/** Holds sockets until they are closed, or they would be collected. */
export class CameoPeers implements Disposable {
  readonly #sockets = new Set<zmq.Socket>();
  readonly #host: string;

  constructor(host = "127.0.0.1") {
    this.#host = host;
  }

  /** For sockets that dial; libzmq does so by IPv4 alone unless it is told. */
  get #dials() {
    return { linger: 0, reconnectInterval: 20, ipv6: this.#host.startsWith("[") };
  }

  #at(port: number): string {
    return `tcp://${this.#host}:${port}`;
  }

  hold<S extends zmq.Socket>(socket: S): S {
    this.#sockets.add(socket);
    return socket;
  }

  release(socket: zmq.Socket): void {
    this.#sockets.delete(socket);
    socket.close();
  }

  /** A ROUTER of that name, at the proxy; `answer` gives the payloads of its answers, one after the other. */
  responder(
    port: number,
    routingId: string,
    answer: (payload: Buffer[]) => Frames[] = (payload) => [payload],
  ): zmq.Router {
    const pace = { ...this.#dials, sendHighWaterMark: 0, receiveHighWaterMark: 0 };
    const router = this.hold(new zmq.Router({ routingId, ...pace }));
    router.connect(this.#at(port));
    const serve = async (): Promise<void> => {
      for await (const [via = "", , origin = "", , ...payload] of router)
        for (const frames of answer(payload)) await router.send([via, "", origin, "", ...frames]);
    };
    void serve().catch(() => {}); // it was closed
    return router;
  }

  requester(
    port: number,
    { keys, more = {} }: { keys?: CurveKeys; more?: object } = {},
  ): Requester {
    const pace = { ...this.#dials, receiveTimeout: PATIENCE_MS };
    const socket = this.hold(new zmq.Dealer({ ...pace, ...curveOf(keys), ...more }));
    socket.connect(this.#at(port));
    return new Requester(socket);
  }

  publisher(port: number): zmq.Publisher {
    const socket = this.hold(new zmq.Publisher({ ...this.#dials, sendHighWaterMark: 0 }));
    socket.connect(this.#at(port));
    return socket;
  }

  subscriber(port: number, topic: string, keys?: CurveKeys): zmq.Subscriber {
    const pace = { ...this.#dials, receiveTimeout: PATIENCE_MS, receiveHighWaterMark: 0 };
    const socket = this.hold(new zmq.Subscriber({ ...pace, ...curveOf(keys) }));
    socket.connect(this.#at(port));
    socket.subscribe(topic);
    return socket;
  }

  [Symbol.dispose](): void {
    for (const socket of this.#sockets) socket.close();
    this.#sockets.clear();
  }
}

/** Publishes it again and again until a subscriber hears something, since nobody knows when it has subscribed. */
export async function hears(
  subscriber: zmq.Subscriber,
  publisher: zmq.Publisher,
  news: Frames,
): Promise<void> {
  subscriber.receiveTimeout = 50;
  await until(async () => {
    await publisher.send(news);
    return subscriber.receive().then(
      () => true,
      () => false,
    );
  }, "a publisher is heard");
  subscriber.receiveTimeout = PATIENCE_MS;
}

export class Requester {
  readonly socket: zmq.Dealer;

  constructor(socket: zmq.Dealer) {
    this.socket = socket;
  }

  async send(to: string | Buffer, ...payload: Frames): Promise<void> {
    await this.socket.send(["", to, "", ...payload]);
  }

  /** The payload of the next answer. */
  async receive(): Promise<Buffer[]> {
    return (await this.socket.receive()).slice(3);
  }

  async ask(to: string, ...payload: Frames): Promise<Buffer[]> {
    await this.send(to, ...payload);
    return await this.receive();
  }

  /** Asks again until somebody answers, as a requester's SYNC does. */
  async sync(to: string): Promise<void> {
    for (let tries = 1; ; tries += 1) {
      await this.send(to, JSON.stringify({ type: 1 }));
      this.socket.receiveTimeout = Math.min(200 * tries, PATIENCE_MS);
      const answer = await this.socket.receive().catch(() => undefined);
      this.socket.receiveTimeout = PATIENCE_MS;
      if (answer) break;
      if (tries > 40) throw new Error(`${to} never answered`);
    }
    // More SYNCs than one may have got through.
    this.socket.receiveTimeout = 50;
    while (await this.socket.receive().catch(() => undefined));
    this.socket.receiveTimeout = PATIENCE_MS;
  }
}

type ServerPorts = { responder: number; publisher: number; internal: number };

/** What a CAMEO server does of which its proxies notice something (seed-systems 4.6). */
export class CameoServer {
  readonly #events: zmq.Publisher;
  readonly #keys = new Map<string, string>();
  readonly #ports: ServerPorts;

  constructor(peers: CameoPeers, ports: ServerPorts) {
    this.#ports = ports;
    this.#events = peers.publisher(ports.internal);
    peers.responder(ports.responder, "0:0", ([json]) => [
      [JSON.stringify(this.#answer(JSON.parse(String(json))))],
    ]);
  }

  #answer(request: { type: number; id?: number; key?: string; value?: string }): object {
    const { responder, publisher, internal } = this.#ports;
    const ok = (value = 0, message = "OK"): object => ({ value, message });
    const { key = "", value = "", id = 0 } = request;
    switch (request.type) {
      case 1:
        void this.#events.send(["status", JSON.stringify({ id: -1, name: "" })]);
        return ok();
      case 36:
        return ok(responder);
      case 17:
        return ok(publisher);
      case 18:
        return ok(internal);
      case 25:
        return { major: 1, minor: 0, revision: 0 };
      case 26:
        this.#keys.set(`${id} ${key}`, value);
        void this.#events.send([
          "keyvalue",
          JSON.stringify({ id, name: "", status: 26, key, value }),
        ]);
        return ok();
      case 27: {
        const found = this.#keys.get(`${id} ${key}`);
        return found === undefined ? ok(-2) : ok(0, found);
      }
      case 28:
        return ok(this.#keys.delete(`${id} ${key}`) ? 0 : -2);
      default:
        return ok(-1, "unknown");
    }
  }
}
