import type { Duplex } from "node:stream";
import type { Server } from "node:tls";
import { connectionOf, Holdings, sourceOf } from "./source.ts";

/** Handshakes that one source may have under way; past that its connections are closed unread. */
const PER_SOURCE_MAX = 256;

/** The handshakes that a TLS server has under way, by source. */
export class Handshakes {
  readonly #underWay = new Set<string>();
  readonly #perSource = new Holdings(PER_SOURCE_MAX);

  constructor(server: Pick<Server, "on">) {
    server.on("secureConnection", (socket) => this.#over(connectionOf(socket), socket));
  }

  /** True if there is room for one more from where this socket comes; it counts until it is over. */
  admits(socket: Duplex & { remoteAddress?: string | undefined }): boolean {
    const { remoteAddress } = socket;
    if (!this.#perSource.take(sourceOf(remoteAddress))) return false;
    const connection = connectionOf(socket);
    this.#underWay.add(connection);
    socket.on("close", () => this.#over(connection, { remoteAddress }));
    return true;
  }

  #over(connection: string, { remoteAddress }: { remoteAddress?: string | undefined }): void {
    if (this.#underWay.delete(connection)) this.#perSource.release(sourceOf(remoteAddress));
  }
}
