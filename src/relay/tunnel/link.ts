import type { WebSocket } from "ws";
import type { Endpoint } from "../../wire/endpoint.ts";

/** Pings without an answer after which the other side counts as gone. */
const MISSES_MAX = 3;
/** How long the other side may take to say goodbye too. */
const CLOSE_MS = 1_000;
/** Pings at the beginning, one after the other: a single one may have waited for something else. */
const SAMPLES = 5;
const GOING_AWAY = 1001;

/** Messages and bytes, received and sent (seed-systems 1.8). */
export type Counts = { rxc: number; rxs: number; txc: number; txs: number };

type LinkOptions = {
  ping_interval_ms: number;
  /** The other side is known to answer pings, as one is that negotiated. Of others it is learnt. */
  answersPings: boolean;
  /** Where its other end is. */
  remote: Endpoint;
};

/** One WebSocket: what went over it, and whether there is still somebody at its other end. */
export class Link {
  readonly counts: Counts = { rxc: 0, rxs: 0, txc: 0, txs: 0 };
  /** Resolves when it is over, with why. */
  readonly closed: Promise<string>;
  readonly remote: Endpoint;
  readonly #socket: WebSocket;
  #answersPings: boolean;
  #missed = 0;
  #pinged_ms = 0;
  #rtt_ms = Number.POSITIVE_INFINITY;
  #samples = 0;
  #why: string | undefined;

  constructor(socket: WebSocket, { ping_interval_ms, answersPings, remote }: LinkOptions) {
    this.#socket = socket;
    this.#answersPings = answersPings;
    this.remote = remote;
    const timer = setInterval(() => this.#ping(), ping_interval_ms);
    socket.on("error", (reason) => {
      this.#why ??= reason.message;
    });
    socket.on("pong", () => {
      this.#answersPings = true;
      this.#missed = 0;
      this.#rtt_ms = Math.min(this.#rtt_ms, performance.now() - this.#pinged_ms);
      this.#samples += 1;
      if (answersPings && this.#samples < SAMPLES) this.#ping();
    });
    socket.on("message", (data) => {
      this.#missed = 0;
      this.counts.rxc += 1;
      this.counts.rxs += (data as Buffer).length;
    });
    if (answersPings) this.#ping();
    this.closed = new Promise((resolve) => {
      socket.once("close", (code) => {
        clearInterval(timer);
        resolve(this.#why ?? (code === GOING_AWAY ? "the other side left" : `closed (${code})`));
      });
    });
  }

  /** True unless it is closing, or the last ping has not been answered. */
  get healthy(): boolean {
    return this.open && this.#missed < 2;
  }

  get open(): boolean {
    return this.#socket.readyState === this.#socket.OPEN;
  }

  /** The shortest time in which a ping was answered; 0 as long as that says little. */
  get rtt_ms(): number {
    return this.#samples < SAMPLES ? 0 : this.#rtt_ms;
  }

  /** Bytes that wait to be sent. */
  get waiting(): number {
    return this.#socket.bufferedAmount;
  }

  onMessage(listener: (message: Buffer) => void): void {
    this.#socket.on("message", (data) => listener(data as Buffer));
  }

  send(message: Buffer, binary: boolean, sent: (reason?: Error | null) => void = () => {}): void {
    if (!this.open) {
      sent(new Error("the tunnel is closed"));
      return;
    }
    this.counts.txc += 1;
    this.counts.txs += message.length;
    this.#socket.send(message, { binary }, sent);
  }

  /** Says goodbye, and insists after a while. */
  async close(): Promise<void> {
    this.#socket.close(GOING_AWAY);
    const timer = setTimeout(() => this.#socket.terminate(), CLOSE_MS);
    await this.closed;
    clearTimeout(timer);
  }

  cut(why: string): void {
    this.#why ??= why;
    this.#socket.terminate();
  }

  #ping(): void {
    if (!this.open) return;
    if (this.#answersPings && this.#missed >= MISSES_MAX) {
      this.cut(`${MISSES_MAX} pings were not answered`);
      return;
    }
    if (this.#answersPings) this.#missed += 1;
    this.#pinged_ms = performance.now();
    this.#socket.ping();
  }
}
