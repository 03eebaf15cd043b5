/** A network between two programs of this machine: whatever goes through it arrives later. */
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";

/** Passes connections on to a port, `delay_ms` of way in each direction. */
export class Far implements AsyncDisposable {
  delay_ms = 0;
  /** How many connections have come. */
  connections = 0;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(server: Server, target: number) {
    this.#server = server;
    server.on("connection", (near: Socket) => {
      this.connections += 1;
      const far = connect({ host: "127.0.0.1", port: target, allowHalfOpen: true, noDelay: true });
      for (const [socket, other] of [
        [near, far],
        [far, near],
      ] as const) {
        this.#sockets.add(socket);
        socket
          .on("error", () => {})
          .on("close", () => {
            this.#sockets.delete(socket);
            other.destroy();
          });
      }
      // Who dials has an answer here at once, and over there only after a way there and back.
      this.#carry(near, far, performance.now() + 3 * this.delay_ms);
      this.#carry(far, near, 0);
    });
  }

  static async open(target: number): Promise<Far> {
    const server = createServer({ allowHalfOpen: true, noDelay: true }).listen(0, "127.0.0.1");
    await once(server, "listening");
    return new Far(server, target);
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Breaks every connection that is open. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  #carry(from: Socket, to: Socket, earliest: number): void {
    const due: (() => void)[] = [];
    let last = earliest;
    const later = (work: () => void): void => {
      const now = performance.now();
      last = Math.max(last, now + this.delay_ms);
      due.push(work);
      setTimeout(() => due.shift()?.(), last - now);
    };
    from.on("data", (bytes) => later(() => to.write(bytes)));
    from.on("end", () => later(() => to.end()));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cut();
    await once(this.#server.close(), "close");
  }
}
