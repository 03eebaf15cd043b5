import { Duplex } from "node:stream";

/**
 * A stream both ways that node:http takes for a connection. An end leaves the other direction open;
 * whoever destroys it before both have ended breaks it for the other side too.
 */
export abstract class Connection extends Duplex {
  readonly connecting = false;

  /** True once both sides have ended, and what they said has been read and sent. */
  protected get isWhole(): boolean {
    return this.readableEnded && this.writableFinished;
  }

  /** The other side has destroyed it. */
  breakOff(): void {
    this.destroy(this.isWhole ? undefined : new Error("the other side broke off"));
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
  const [one, other] = [new End(), new End()];
  one.other = other;
  other.other = one;
  return [one, other];
}

class End extends Connection {
  other: End | undefined;
  /** The other's write, which waits until this is read. */
  #held: (() => void) | undefined;

  override _read(): void {
    const held = this.#held;
    this.#held = undefined;
    held?.();
  }

  override _write(chunk: Buffer, _: BufferEncoding, done: () => void): void {
    if (!this.other || this.other.push(chunk)) done();
    else this.other.#held = done;
  }

  override _final(done: () => void): void {
    this.other?.push(null);
    done();
  }

  override _destroy(reason: Error | null, done: (reason: Error | null) => void): void {
    this.other?.breakOff();
    done(reason);
  }
}
