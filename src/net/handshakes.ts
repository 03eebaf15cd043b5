import type { Duplex } from "node:stream";
import type { Server, TLSSocket } from "node:tls";
import { connectionOf, Holdings, sourceOf } from "./source.ts";

/** Handshakes that one source may have under way; past that its connections are closed unread. */
const PER_SOURCE_MAX = 256;

/** The handshakes that a TLS server has under way, by source. */
export class Handshakes {
  /** When each began, by its connection. */
  readonly #underWay = new Map<string, number>();
  readonly #perSource = new Holdings(PER_SOURCE_MAX);

  /** `secured` is called after each that went well, and told how long it took. */
  constructor(
    server: Pick<Server, "on">,
    secured: (socket: TLSSocket, took_ms: number) => void = () => {},
  ) {
    server.on("secureConnection", (socket) => {
      const now = performance.now();
      const connection = connectionOf(socket);
      const began_at = this.#underWay.get(connection) ?? now;
      this.#over(connection, socket);
      secured(socket, now - began_at);
    });
  }

  /** True if there is room for one more from where this socket comes; it counts until it is over. */
  admits(socket: Duplex & { remoteAddress?: string | undefined }): boolean {
    const { remoteAddress } = socket;
    if (!this.#perSource.take(sourceOf(remoteAddress))) return false;
    const connection = connectionOf(socket);
    this.#underWay.set(connection, performance.now());
    socket.on("close", () => this.#over(connection, { remoteAddress }));
    return true;
  }

  #over(connection: string, { remoteAddress }: { remoteAddress?: string | undefined }): void {
    if (this.#underWay.delete(connection)) this.#perSource.release(sourceOf(remoteAddress));
  }
}
