import * as zmq from "zeromq";
import { until } from "./until.ts";

/*
 * Peers of CAMEO's proxies on real libzmq sockets, written from seed-systems 4.3 to 4.5 alone.
 */

const PATIENCE_MS = 15_000;
/** How many there are where there are many. */
export const APPLICATIONS = 50;
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
    more: object = {},
  ): zmq.Router {
    const pace = { ...this.#dials, sendHighWaterMark: 0, receiveHighWaterMark: 0 };
    const router = this.hold(new zmq.Router({ routingId, ...pace, ...more }));
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
