import { Fault } from "../../core/fault.ts";

/** How far away the other side has to be before a window is made wider: the rest is the processes' own time. */
const NEAR_MS = 2;

/** What decides how wide a window becomes. */
type Room = {
  size_max: number;
  /** How far away the other side is; 0 as long as nobody knows. */
  rtt_ms(): number;
  /** True if there are so many bytes left to widen by, which are then taken. */
  take(size: number): boolean;
};

/**
 * How many bytes the other side may have on their way to us. It begins narrow, since what is on its way is what
 * others wait behind, and doubles while the distance alone keeps more from coming: while a whole
 * window passes in less than two round trips.
 */
export class Window {
  readonly #room: Room;
  #size: number;
  #used = 0;
  #since: number;

  constructor(size: number, room: Room, now_ms = performance.now()) {
    this.#size = size;
    this.#room = room;
    this.#since = now_ms;
  }

  get size(): number {
    return this.#size;
  }

  /** So many bytes have come. Throws `malformed` if that is more than may. */
  use(size: number): void {
    this.#used += size;
    if (this.#used > this.#size) throw new Fault("malformed", "more came than may be sent");
  }

  /** What is to be given back now; nothing as long as it is too little for a frame of its own. */
  due(now_ms = performance.now()): number {
    if (this.#used < this.#size / 4) return 0;
    const took_ms = ((now_ms - this.#since) * this.#size) / this.#used;
    const { rtt_ms, size_max, take } = this.#room;
    const isFar = took_ms < 2 * (rtt_ms() - NEAR_MS);
    const wider = isFar && 2 * this.#size <= size_max && take(this.#size);
    const size = this.#used + (wider ? this.#size : 0);
    if (wider) this.#size *= 2;
    this.#used = 0;
    this.#since = now_ms;
    return size;
  }
}
