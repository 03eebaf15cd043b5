import { once } from "node:events";
import { Agent, createServer, type RequestListener, type Server } from "node:http";
import { createServer as createFront, type Server as Front, type Socket } from "node:net";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { silent } from "../../src/core/log.ts";
import { type HttpForwarder, openHttpForwarder } from "../../src/rpc/http-forwarder.ts";
import { dialFreely, Ear } from "./wires.ts";

type Settings = Partial<Parameters<typeof openHttpForwarder>[0]>;

/** A front door whose sockets a forwarder serves, and the internal server it forwards to. */
export class Forwarding implements AsyncDisposable {
  readonly forwarder: HttpForwarder;
  readonly internal: Server;
  /** Keeps its connection to the front, as a browser does. */
  readonly agent = new Agent({ keepAlive: true, maxSockets: 1 });
  /** How many connections each of the two has ever had. */
  readonly connections = { front: 0, internal: 0 };
  readonly #front: Front;
  readonly #sockets: Socket[] = [];

  private constructor(forwarder: HttpForwarder, internal: Server, front: Front) {
    this.forwarder = forwarder;
    this.internal = internal;
    this.#front = front;
    internal.on("connection", (socket) => {
      this.connections.internal += 1;
      this.#sockets.push(socket);
    });
    front.on("connection", (socket) => {
      this.connections.front += 1;
      this.#sockets.push(socket);
      forwarder.accept(socket);
    });
  }

  static async open(serve: RequestListener, settings: Settings = {}): Promise<Forwarding> {
    const internal = createServer(serve).listen(0, "127.0.0.1");
    // As `listen` hands sockets over.
    const front = createFront({ allowHalfOpen: true, pauseOnConnect: true, noDelay: true });
    front.listen(0, "127.0.0.1");
    await Promise.all([once(internal, "listening"), once(front, "listening")]);
    const address = `localhost:${portOf(internal)}`;
    const forwarder = openHttpForwarder(
      { address, timeout_ms: 20_000, ...settings },
      { log: silent },
    );
    return new Forwarding(forwarder, internal, front);
  }

  /** Where the front is. */
  get port(): number {
    return portOf(this.#front);
  }

  /** What the internal server is called in `Host`. */
  get host(): string {
    return `localhost:${portOf(this.internal)}`;
  }

  /** Dials the front and says this, with CRLF for every line's end. */
  async say(...lines: string[]): Promise<{ socket: Socket; ear: Ear }> {
    const socket = await dialFreely(this.port);
    this.#sockets.push(socket);
    const ear = new Ear(socket);
    socket.write(lines.join("\r\n"), "latin1");
    return { socket, ear };
  }

  /** Says this, and returns all that comes back until the forwarder ends the connection. */
  async ask(...lines: string[]): Promise<string> {
    const { socket, ear } = await this.say(...lines);
    await ear.hearsTheEnd();
    socket.destroy();
    return ear.bytes.toString("latin1");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.agent.destroy();
    for (const socket of this.#sockets) socket.destroy();
    this.#front.close();
    this.internal.close();
    await this.forwarder[Symbol.asyncDispose]();
  }
}

export function portOf(server: { address(): unknown }): number {
  return (server.address() as { port: number }).port;
}

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

/** How many bytes of buffers this process holds that somebody still needs. */
export function heldBytes(): number {
  collect();
  collect(); // buffers that the first found to be free are given back by now
  return process.memoryUsage().arrayBuffers;
}
