import { once } from "node:events";
import { createServer, type Server, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import { field, fieldsOf, whole } from "./protobuf.ts";

type Waiting = { socket: Duplex; session: number };

const prefixed = (...fields: Buffer[]): Buffer => {
  const body = Buffer.concat(fields);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(body.length);
  return Buffer.concat([length, body]);
};

/**
 * A relay as RelayServer is (seed-systems 2), with protobuf by hand: gives clients the oldest waiting
 * connection, refuses them if there is none, and tells the command channel.
 */
export class RelayServer implements AsyncDisposable {
  readonly waiting: Waiting[] = [];
  /** The hellos that were said on each kind of connection. */
  readonly hellos: ReturnType<typeof fieldsOf>[] = [];
  readonly commands = new Set<Duplex>();
  /** Says this behind the response, in one segment with it. */
  behind: Buffer | undefined;
  /** Leaves the connection of a client that left open, as RelayServer does for 5 s. */
  grace = false;
  announces = true;
  /** Where connections wait, where announcements are made, where clients come in. */
  readonly ports: number[] = [];
  readonly #servers: Server[] = [];
  readonly #sockets = new Set<Duplex>();
  #sessions = 0;

  private constructor() {}

  /** `wrap` may put TLS around what agents dial. */
  static async open(
    ports = [0, 0, 0],
    wrap: (socket: Socket, use: (secure: Duplex) => void) => void = (socket, use) => use(socket),
  ) {
    const relay = new RelayServer();
    const enter = [
      (socket: Socket) => wrap(socket, (secure) => relay.#hear(secure)),
      (socket: Socket) => wrap(socket, (secure) => relay.#command(secure)),
      (socket: Socket) => relay.#serve(socket),
    ];
    for (const [index, port] of ports.entries()) {
      const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
        relay.#sockets.add(socket);
        socket.on("error", () => {}).on("close", () => relay.#sockets.delete(socket));
        enter[index]?.(socket);
      });
      server.listen(port, "127.0.0.1");
      await once(server, "listening");
      relay.#servers.push(server);
      relay.ports.push((server.address() as { port: number }).port);
    }
    return relay;
  }

  get options(): { relay: string; commands: string } {
    const [data, commands] = this.ports;
    return { relay: `127.0.0.1:${data}`, commands: `127.0.0.1:${commands}` };
  }

  announce(type: number, session: number): Buffer {
    const bytes = prefixed(whole(1, 1), whole(2, type), field(3 + type, whole(1, session)));
    if (this.announces) for (const each of this.commands) each.write(bytes);
    return bytes;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const each of this.#sockets) each.destroy();
    await Promise.all(this.#servers.map((server) => new Promise((closed) => server.close(closed))));
  }

  #hear(socket: Duplex): void {
    let bytes = Buffer.alloc(0);
    const look = (chunk: Buffer): void => {
      bytes = Buffer.concat([bytes, chunk]);
      if (bytes.length < 4 || bytes.length < 4 + bytes.readUInt32BE(0)) return;
      socket.off("data", look).pause();
      this.hellos.push(fieldsOf(bytes.subarray(4)));
      const session = this.#sessions++;
      const response = prefixed(whole(1, session), field(2, "127.0.0.1"), field(3, "8002"));
      socket.write(this.behind ? Buffer.concat([response, this.behind]) : response);
      const waiting = { socket, session };
      this.waiting.push(waiting);
      const gone = (): void => {
        const at = this.waiting.indexOf(waiting);
        if (at >= 0) this.waiting.splice(at, 1);
        if (at >= 0) socket.destroy();
      };
      socket
        .on("error", () => {})
        .on("end", gone)
        .on("close", gone);
      socket.resume();
    };
    socket.on("data", look);
  }

  #command(socket: Duplex): void {
    this.commands.add(socket);
    socket.on("close", () => this.commands.delete(socket)).on("end", () => socket.end());
    socket.on("error", () => {});
    socket.on("data", (chunk) => this.hellos.push(fieldsOf(chunk.subarray(4))));
  }

  #serve(client: Socket): void {
    const given = this.waiting.shift();
    if (!given || this.commands.size === 0) {
      client.end();
      return;
    }
    const { socket, session } = given;
    this.announce(0, session);
    client.pipe(socket, { end: !this.grace });
    socket.pipe(client);
    if (this.grace) client.on("end", () => client.destroySoon());
    client.on("close", () => {
      this.announce(1, session);
      if (!this.grace) socket.destroy();
    });
    socket.on("close", () => client.destroySoon());
  }
}
