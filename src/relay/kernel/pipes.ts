import { F_SETPIPE_SZ, NONBLOCK_CLOEXEC, SPLICE_F_MOVE_NONBLOCK } from "./linux.ts";
import type { Reactor } from "./reactor.ts";

/** Bytes are put into one end and come out of the other. */
export type Pipe = { readonly into: number; readonly out: number };

/**
 * A transfer through a pipe costs two calls however much it carries, so pipes are as large as the system
 * lets anybody have them; 64 KiB ones cost two to four times as much per byte. Past `pipe-user-pages-soft`
 * (64 of these) an ordinary user gets smaller ones, which work.
 */
const SIZE = 1024 ** 2;
const SPARE_MAX = 64;

/** Empty pipes, lent while bytes are on their way, so that an idle circuit has none. */
export class Pipes {
  readonly #reactor: Reactor;
  readonly #spare: Pipe[] = [];
  readonly #ends = new Int32Array(2);
  readonly #ends_at: number;

  constructor(reactor: Reactor) {
    this.#reactor = reactor;
    this.#ends_at = reactor.linux.pin(this.#ends);
  }

  /** Undefined if the system has none left. */
  borrow(): Pipe | undefined {
    return this.#spare.pop() ?? this.#make();
  }

  giveBack(pipe: Pipe, empty: boolean): void {
    if (empty && this.#spare.length < SPARE_MAX) this.#spare.push(pipe);
    else this.#close(pipe);
  }

  /** Throws if the system does not splice for us, as some sandboxes do not. */
  tryOut(): void {
    const { linux } = this.#reactor;
    const [one, other] = [this.#make(), this.#make()];
    if (!one || !other) throw new Error("no descriptors are left for pipes");
    linux.write(one.into, this.#ends_at, 1);
    const moved = linux.splice(one.out, 0, other.into, 0, 1, SPLICE_F_MOVE_NONBLOCK);
    if (moved !== 1) throw new Error(`splice fails with errno ${linux.errno()}`);
    for (const pipe of [one, other]) this.#close(pipe);
  }

  /** When nobody needs any. */
  closeSpare(): void {
    for (const pipe of this.#spare.splice(0)) this.#close(pipe);
  }

  #make(): Pipe | undefined {
    const { linux } = this.#reactor;
    if (linux.pipe2(this.#ends_at, NONBLOCK_CLOEXEC) < 0) return undefined;
    const [out = -1, into = -1] = this.#ends;
    for (const end of [out, into]) this.#reactor.own(end);
    if (Math.max(out, into) >= this.#reactor.descriptors_max) {
      this.#close({ into, out });
      return undefined;
    }
    linux.fcntl(into, F_SETPIPE_SZ, SIZE);
    return { out, into };
  }

  #close({ into, out }: Pipe): void {
    this.#reactor.close(into);
    this.#reactor.close(out);
  }
}
