import { randomUUID } from "node:crypto";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { WebSocket, WebSocketServer } from "ws";

type Message = { envelope: string; head: string; body: string };

/** A site of west that speaks version 1 by the specification alone (seed-systems 1.5), in latin1 throughout. */
export class WestPeer {
  readonly heard: Message[] = [];
  readonly socket: WebSocket;
  /** Answers a request that comes; nothing where it returns nothing. */
  answer: (message: Message) => string | Buffer | undefined = () => undefined;

  constructor(socket: WebSocket) {
    this.socket = socket;
    socket.on("error", () => {});
    socket.on("message", (data) => {
      const [envelope = "", head = "", ...rest] = (data as Buffer)
        .toString("latin1")
        .split("\r\n\r\n");
      const message = { envelope, head, body: rest.join("\r\n\r\n") };
      this.heard.push(message);
      const answer = /^HTTP\//.test(head) ? undefined : this.answer(message);
      if (answer !== undefined) this.say(envelope, answer);
    });
  }

  /** Dials as an original does: a name, no sub-protocol. */
  static async dial(port: number, name: string, localAddress = "127.0.0.1"): Promise<WestPeer> {
    const peer = new WestPeer(
      new WebSocket(`ws://127.0.0.1:${port}`, { origin: name, localAddress }),
    );
    await once(peer.socket, "open");
    return peer;
  }

  say(envelope: string, message: string | Buffer): void {
    const bytes = Buffer.concat([
      Buffer.from(`${envelope}\r\n\r\n`),
      Buffer.from(message as string),
    ]);
    this.socket.send(bytes, { binary: Buffer.isBuffer(message) });
  }

  /** Asks, and returns the id. */
  ask(name: string, message: string): string {
    const id = randomUUID();
    this.say(envelopeOf(name, id), message);
    return id;
  }
}

export function envelopeOf(name: string, id: string): string {
  return `TransactionOrigin: ${name}\r\nTransactionID: ${id}\r\nX-Proxy-Protocol: http`;
}

/** A tunnel server as the original is one: it chooses no sub-protocol whatever is offered. */
export class WestPeerServer implements AsyncDisposable {
  readonly peers: WestPeer[] = [];
  readonly origins: (string | undefined)[] = [];
  readonly #server: WebSocketServer;

  constructor(port = 0) {
    this.#server = new WebSocketServer({ port, host: "127.0.0.1", handleProtocols: () => false });
    this.#server.on("connection", (socket, { headers }) => {
      this.origins.push(headers.origin);
      this.peers.push(new WestPeer(socket));
    });
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.#server.clients) client.terminate();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
