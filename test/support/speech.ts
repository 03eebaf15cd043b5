import { randomBytes } from "node:crypto";
import type { Socket } from "node:net";
import { until } from "./until.ts";

/** A prime, so that a piece that is lost, doubled or moved by any round number shows. */
const PERIOD = 1_048_583;
const CHUNK = 256 * 1024;

/** An endless text, twice in a row in memory so that any piece of it is one slice. */
const once = randomBytes(PERIOD);
const text = Buffer.concat([once, once]);

function piece(at: number, size: number): Buffer {
  const from = at % PERIOD;
  return text.subarray(from, from + size);
}

/** Says the first `size` bytes of the text, as fast as they are taken, and resolves when they are. */
export async function recite(socket: Socket, size: number, from = 0): Promise<void> {
  for (let at = from; at < from + size; at += CHUNK) {
    const taken = socket.write(piece(at, Math.min(CHUNK, from + size - at)));
    if (!taken && !socket.destroyed) await drained(socket);
    if (socket.destroyed) return;
  }
}

function drained(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    const settle = (): void => {
      socket.off("drain", settle).off("close", settle);
      resolve();
    };
    socket.on("drain", settle).on("close", settle);
  });
}

/** Listens whether somebody says the text, byte by byte, and how it ends. */
export class Listening {
  size = 0;
  /** How the speaker stopped: `end`, the code of an error, or `close` if there was neither. */
  ending: string | undefined;
  /** Where the first byte was that is not the text's. */
  wrong_at: number | undefined;

  constructor(socket: Socket) {
    socket.on("data", (chunk: Buffer) => this.#hear(chunk));
    socket.on("end", () => this.#over("end"));
    socket.on("error", (error: NodeJS.ErrnoException) => this.#over(error.code ?? "error"));
    socket.on("close", () => this.#over("close"));
  }

  async hears(size: number): Promise<void> {
    await this.#patiently(() => this.size >= size, `${size} bytes arrive`);
  }

  async hearsTheEnd(): Promise<string> {
    await this.#patiently(() => this.ending !== undefined, "the speaker stops");
    return this.ending ?? "";
  }

  /** As long as something moves, nobody gives up. */
  async #patiently(holds: () => boolean, what: string): Promise<void> {
    for (let before = -1; !holds() && before !== this.size; ) {
      before = this.size;
      const moved = () => holds() || this.size > before || this.ending !== undefined;
      await until(moved, () => `${what} (${this.size} did, then: ${this.ending ?? "nothing"})`);
      if (this.ending !== undefined) break;
    }
    if (!holds()) throw new Error(`not ${what}: ${this.size} bytes, then ${this.ending}`);
  }

  #hear(chunk: Buffer): void {
    for (let at = 0; at < chunk.length; at += PERIOD) {
      const part = chunk.subarray(at, at + PERIOD);
      if (!part.equals(piece(this.size + at, part.length))) this.wrong_at ??= this.size + at;
    }
    this.size += chunk.length;
  }

  #over(ending: string): void {
    this.ending ??= ending;
  }
}
