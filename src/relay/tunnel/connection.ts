import { Duplex, duplexPair } from "node:stream";

/**
 * Any stream both ways as a connection that node:http takes for one. A stream of HTTP/2 that is given
 * to it as it is makes it send garbage on Node 20 and 22.
 *
 * An end is passed on and leaves the other direction open. Whoever destroys it breaks the stream below,
 * and a stream below that breaks, or closes before both sides have ended, destroys it with an error.
 */
export class Connection extends Duplex {
  readonly connecting = false;
  readonly #below: Duplex;
  readonly #cut: () => void;

  /** `cut` breaks the stream below in its own way. */
  constructor(below: Duplex, cut: () => void) {
    super({ allowHalfOpen: true });
    this.#below = below;
    this.#cut = cut;
    below.on("data", (chunk: Buffer) => {
      if (!this.push(chunk)) below.pause();
    });
    below.on("end", () => this.push(null));
    below.on("error", (reason) => this.destroy(reason));
    below.on("close", () => {
      const whole = this.readableEnded && this.writableFinished;
      this.destroy(whole ? undefined : new Error("the other side broke off"));
    });
  }

  override _read(): void {
    this.#below.resume();
  }

  override _write(chunk: Buffer, _: BufferEncoding, done: (reason?: Error | null) => void): void {
    if (this.#below.write(chunk)) done();
    else this.#below.once("drain", () => done());
  }

  override _final(done: () => void): void {
    this.#below.end(done);
  }

  override _destroy(reason: Error | null, done: (reason?: Error | null) => void): void {
    if (!this.#below.destroyed) this.#cut();
    done(reason);
  }

  /* What node:http asks of every connection and only TCP has. */

  setTimeout(): this {
    return this;
  }

  setNoDelay(): this {
    return this;
  }

  setKeepAlive(): this {
    return this;
  }

  ref(): this {
    return this;
  }

  unref(): this {
    return this;
  }
}

/** A connection within this process: both ends of it. */
export function connectionPair(): [Connection, Connection] {
  const [one, other] = duplexPair();
  const cut = (): void => {
    one.destroy();
    other.destroy();
  };
  return [new Connection(one, cut), new Connection(other, cut)];
}
