import * as zmq from "zeromq";

export const SERVER = zmq.curveKeyPair();
export const CLIENT = zmq.curveKeyPair();
const PATIENCE_MS = 15_000;

type Options = {
  /** Without CURVE, as libzmq is by itself. */
  plain?: boolean;
  /** Whose server a client believes in. */
  server?: string;
  more?: object;
};

/** Real libzmq peers in this process. They are held until they are closed, or they would be collected. */
export class ZmqPeers implements AsyncDisposable {
  readonly #sockets = new Set<zmq.Socket>();

  hold<S extends zmq.Socket>(socket: S): S {
    this.#sockets.add(socket);
    return socket;
  }

  release(socket: zmq.Socket): void {
    this.#sockets.delete(socket);
    socket.close();
  }

  /** A worker that answers each question by its name and the question, once it is connected or bound. */
  worker(name = "worker", { plain = false, more = {} }: Options = {}): zmq.Router {
    const curve = plain ? {} : { curveServer: true, curveSecretKey: SERVER.secretKey };
    const pace = { linger: 0, handshakeInterval: 0, reconnectInterval: 10 };
    const worker = this.hold(new zmq.Router({ ...pace, ...curve, ...more }));
    const serve = async (): Promise<void> => {
      for await (const [client = "", ...question] of worker)
        await worker.send([client, name, ...question]);
    };
    void serve().catch(() => {}); // it was closed
    return worker;
  }

  client(
    endpoint: string,
    { plain = false, server = SERVER.publicKey, more = {} }: Options = {},
  ): zmq.Dealer {
    const keys = { curvePublicKey: CLIENT.publicKey, curveSecretKey: CLIENT.secretKey };
    const curve = plain ? {} : { curveServerKey: server, ...keys };
    const pace = { linger: 0, receiveTimeout: PATIENCE_MS, reconnectInterval: 10 };
    const client = this.hold(new zmq.Dealer({ ...pace, ...curve, ...more }));
    client.connect(endpoint);
    return client;
  }

  /** Asks once from a new client, and lets it go. The name of the worker, and what it heard. */
  async ask(endpoint: string, question: string[], options: Options = {}): Promise<string[]> {
    const client = this.client(endpoint, options);
    try {
      await client.send(question);
      return (await client.receive()).map(String);
    } finally {
      this.release(client);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.close();
  }
}
