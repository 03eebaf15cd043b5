import { once } from "node:events";
import { readdirSync, readlinkSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { until } from "./until.ts";

/** Both ends of one TCP connection. */
export type Wire = { dialled: Socket; accepted: Socket };

/** TCP connections within this process. Both ends are half-open capable; the accepted one is paused. */
export class Wires implements AsyncDisposable {
  readonly #server: Server;
  readonly #wires: Wire[] = [];

  private constructor(server: Server) {
    this.#server = server;
  }

  static async open(): Promise<Wires> {
    const server = createServer({ allowHalfOpen: true, pauseOnConnect: true, noDelay: true });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    return new Wires(server);
  }

  async connect(): Promise<Wire> {
    const accepting = once(this.#server, "connection");
    const dialled = await dialFreely((this.#server.address() as { port: number }).port);
    const [accepted] = (await accepting) as [Socket];
    accepted.on("error", () => {});
    const wire = { dialled, accepted };
    this.#wires.push(wire);
    return wire;
  }

  /** Closes what was dialled. What was accepted is for its owner to close. */
  hangUp(): void {
    for (const { dialled } of this.#wires) dialled.destroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { dialled, accepted } of this.#wires) {
      dialled.destroy();
      accepted.destroy();
    }
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

/**
 * Dials a port of this machine, from any address of 127.0.0.0/8. Errors of the socket are for whoever
 * listens, and kill nobody.
 */
export async function dialFreely(port: number, localAddress = "127.0.0.1"): Promise<Socket> {
  const options = { allowHalfOpen: true, noDelay: true };
  const socket = connect({ port, host: "127.0.0.1", localAddress, ...options });
  socket.on("error", () => {});
  await once(socket, "connect");
  return socket;
}

/** Listens to a socket: keeps what it hears and remembers how it ended. */
export class Ear {
  /** How the speaker stopped: `end`, or the code of the error, or `close` if there was neither. */
  ending: string | undefined;
  readonly #chunks: Buffer[] = [];
  #size = 0;

  constructor(socket: Socket) {
    socket.on("data", (chunk: Buffer) => {
      this.#chunks.push(chunk);
      this.#size += chunk.length;
    });
    socket.on("end", () => this.#over("end"));
    socket.on("error", (error: NodeJS.ErrnoException) => this.#over(error.code ?? "error"));
    socket.on("close", () => this.#over("close"));
  }

  get size(): number {
    return this.#size;
  }

  get bytes(): Buffer {
    return Buffer.concat(this.#chunks);
  }

  /** All bytes so far, once there are at least so many. */
  async hears(size: number): Promise<Buffer> {
    await until(
      () => this.#size >= size,
      () => `${size} bytes arrive (${this.#size} did, then: ${this.ending ?? "nothing"})`,
    );
    return this.bytes;
  }

  async hearsTheEnd(): Promise<string> {
    await until(
      () => this.ending !== undefined,
      () => `the speaker stops (after ${this.#size} bytes)`,
    );
    return this.ending ?? "";
  }

  #over(ending: string): void {
    this.ending ??= ending;
  }
}

/** Writes all of it and resolves when the kernel has taken it. */
export async function say(socket: Socket, bytes: Buffer | string): Promise<void> {
  if (bytes.length === 0) return;
  await new Promise<void>((resolve, reject) => {
    socket.write(bytes, (error) => (error ? reject(error) : resolve()));
  });
}

/** How many sockets this process holds, as Linux counts them; undefined elsewhere. */
export function openSockets(): number | undefined {
  if (process.platform !== "linux") return undefined;
  return readdirSync("/proc/self/fd").filter((descriptor) => {
    try {
      return readlinkSync(`/proc/self/fd/${descriptor}`).startsWith("socket:");
    } catch {
      return false; // the descriptor by which the folder itself was read
    }
  }).length;
}

/** How many descriptors of any kind this process holds, as Linux counts them; undefined elsewhere. */
export function openDescriptors(): number | undefined {
  return process.platform === "linux" ? readdirSync("/proc/self/fd").length : undefined;
}
