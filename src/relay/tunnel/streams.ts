/**
 * Tunnels of version 2: each connection is a stream, and a frame of it one message of the WebSocket. Each
 * stream has its own flow control and its own end, and all that have something to send take turns.
 */
import { explain, Fault } from "../../core/fault.ts";
import { atTooMany } from "../../net/floods.ts";
import {
  decodeFrame,
  encodeData,
  encodeEnding,
  encodeWindow,
  type StreamFrame,
} from "../../wire/west-streams.ts";
import { Connection } from "./connection.ts";
import type { Link } from "./link.ts";
import { type Tunnel, TunnelAgent, type TunnelDeps, type TunnelOptions } from "./tunnel.ts";
import { Window } from "./window.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
/** What one stream may have on its way unread at first. Both sides know it, since no frame says it. */
const STREAM_WINDOW = 64 * KIB;
const STREAM_WINDOW_MAX = 4 * MIB;
/**
 * What all together may have on their way to the other side's process at first. A stream that nobody
 * reads holds nothing of it: it is given back on arrival.
 */
const TUNNEL_WINDOW = 4 * STREAM_WINDOW;
const TUNNEL_WINDOW_MAX = 4 * STREAM_WINDOW_MAX;
/** What the windows of one tunnel's streams may be widened by altogether. */
const WIDENED_MAX = 32 * MIB;
/** A tunnel whose streams have greater numbers is dialled again, long before they need more than 32 bits. */
const NUMBER_MAX = 2 ** 31;
/** Bytes of one frame. */
const DATA_MAX = 32 * KIB;
/** Bytes that may wait in a WebSocket before its writers do. */
const WAITING_MAX = 64 * KIB;
/** Streams that the other side may break off, or open in vain. */
const RESETS = { max: 1_000, window_ms: 30_000 };

export function openStreams(link: Link, options: TunnelOptions, deps: TunnelDeps): Tunnel {
  const streams = new Streams(link, options, deps);
  return {
    version: 2,
    link,
    agent: new TunnelAgent(() => streams.open(), { keepAlive: true, max: options.streams_max }),
    async [Symbol.asyncDispose]() {
      await deps[Symbol.asyncDispose]();
      await link.close();
    },
  };
}

/** All streams of a tunnel, by their numbers, and whose turn it is to send. */
class Streams {
  readonly #link: Link;
  readonly #accept: TunnelDeps["accept"];
  readonly #served_max: number;
  readonly #all = new Map<number, Stream>();
  readonly #turns: Stream[] = [];
  readonly #window: Window;
  readonly #reset: () => void;
  #credit = TUNNEL_WINDOW;
  #widened = 0;
  #served = 0;
  /** The last numbers that either side has given to a stream. */
  #ours: number;
  #theirs = 0;
  #isHeld = false;

  constructor(link: Link, { dialled, streams_max }: TunnelOptions, { accept }: TunnelDeps) {
    this.#link = link;
    this.#accept = accept;
    this.#served_max = streams_max;
    this.#window = new Window(TUNNEL_WINDOW, {
      size_max: TUNNEL_WINDOW_MAX,
      rtt_ms: () => link.rtt_ms,
      take: () => true,
    });
    this.#ours = dialled ? 0 : -1;
    this.#reset = atTooMany(RESETS, () => link.cut("too many streams that come to nothing"));
    link.onMessage((message) => {
      try {
        this.#hear(decodeFrame(message));
      } catch (reason) {
        link.cut(`the other side speaks west.v2 in another way than we do: ${explain(reason)}`);
      }
    });
    void link.closed.then(() => {
      for (const stream of this.#all.values()) stream.breakOff();
    });
  }

  open(): Stream {
    if (!this.#link.open) throw new Fault("unreachable", "the tunnel is closed");
    return new Stream(this);
  }

  /** The number of a stream of ours, which it gets with its first frame: the other side expects them in order. */
  enter(stream: Stream): number {
    this.#ours += 2;
    if (this.#ours > NUMBER_MAX) this.#link.cut("its streams' numbers are used up");
    if (this.#link.open) this.#all.set(this.#ours, stream);
    else queueMicrotask(() => stream.breakOff());
    return this.#ours;
  }

  /** For what comes on one stream. What it is widened by is had back by `leave`. */
  window(): Window {
    return new Window(STREAM_WINDOW, {
      size_max: STREAM_WINDOW_MAX,
      rtt_ms: () => this.#link.rtt_ms,
      take: (size) => {
        if (this.#widened + size > WIDENED_MAX) return false;
        this.#widened += size;
        return true;
      },
    });
  }

  leave(number: number, window: Window): void {
    this.#widened -= window.size - STREAM_WINDOW;
    if (this.#all.delete(number) && !this.#isOurs(number)) this.#served -= 1;
  }

  /** Its turn will come. */
  queue(stream: Stream): void {
    this.#turns.push(stream);
    this.#next();
  }

  send(frame: Buffer): void {
    this.#link.send(frame, true);
  }

  #next(): void {
    while (!this.#isHeld && this.#credit > 0) {
      const stream = this.#turns.shift();
      if (!stream) return;
      stream.turn(Math.min(this.#credit, DATA_MAX), (frame, size) => {
        this.#credit -= size;
        this.#isHeld = this.#link.waiting + frame.length > WAITING_MAX;
        this.#link.send(frame, true, this.#isHeld ? this.#go : undefined);
      });
    }
  }

  readonly #go = (): void => {
    this.#isHeld = false;
    this.#next();
  };

  #hear(frame: StreamFrame): void {
    if (frame.kind === "data") {
      this.#window.use(frame.bytes.length);
      const size = this.#window.due();
      if (size > 0) this.send(encodeWindow(0, size));
    }
    if (frame.kind === "reset") this.#reset();
    if (frame.stream === 0 && frame.kind === "window") {
      this.#credit = raised(this.#credit, frame.size);
      this.#next();
    } else this.#streamOf(frame)?.hear(frame);
  }

  /** Nothing where it is over or may not be. */
  #streamOf({ stream: number, kind }: StreamFrame): Stream | undefined {
    const known = this.#all.get(number);
    if (known) return known;
    if (this.#isOurs(number)) {
      if (number > this.#ours)
        throw new Fault("malformed", "a frame of a stream that nobody opened");
      return undefined;
    }
    if (number <= this.#theirs) return undefined;
    this.#theirs = number;
    if (kind === "reset") return undefined;
    if (this.#served === this.#served_max) {
      this.#reset();
      this.send(encodeEnding(number, "reset"));
      return undefined;
    }
    const stream = new Stream(this, number);
    this.#served += 1;
    this.#all.set(number, stream);
    this.#accept(stream);
    return stream;
  }

  #isOurs(number: number): boolean {
    return (number - this.#ours) % 2 === 0;
  }
}

class Stream extends Connection {
  readonly #streams: Streams;
  readonly #window: Window;
  #number: number | undefined;
  #credit = STREAM_WINDOW;
  /** What is being written, and what to call when it has been sent. */
  #pieces: Buffer[] = [];
  #written: (() => void) | undefined;
  #isQueued = false;
  /** They have ended it, or broken it off. */
  #isEnded = false;
  #isBroken = false;

  constructor(streams: Streams, number?: number) {
    super();
    this.#streams = streams;
    this.#window = streams.window();
    this.#number = number;
    this.on("error", () => {}); // told by whoever uses it
  }

  hear(frame: StreamFrame): void {
    if (frame.kind === "window") {
      this.#credit = raised(this.#credit, frame.size);
      this.#queue();
    } else if (frame.kind === "reset") this.breakOff();
    else if (this.#isEnded) throw new Fault("malformed", "a stream goes on after its end");
    else if (frame.kind === "end") {
      this.#isEnded = true;
      this.push(null);
    } else {
      this.#window.use(frame.bytes.length);
      if (this.push(frame.bytes)) this.#giveBack();
    }
  }

  /** Sends no more than `max` bytes of what is written. */
  turn(max: number, send: (frame: Buffer, size: number) => void): void {
    this.#isQueued = false;
    if (this.destroyed || !this.#written) return;
    const [pieces, rest] = cut(this.#pieces, Math.min(max, this.#credit));
    const size = sizeOf(pieces);
    this.#credit -= size;
    this.#pieces = rest;
    this.#number ??= this.#streams.enter(this);
    send(encodeData(this.#number, pieces), size);
    if (rest.length > 0) {
      this.#queue();
      return;
    }
    const written = this.#written;
    this.#written = undefined;
    written();
  }

  override breakOff(): void {
    this.#isBroken = true;
    super.breakOff();
  }

  override _read(): void {
    this.#giveBack();
  }

  override _write(chunk: Buffer, _: BufferEncoding, written: () => void): void {
    this.#write([chunk], written);
  }

  override _writev(chunks: Array<{ chunk: Buffer }>, written: () => void): void {
    const pieces = chunks.map(({ chunk }) => chunk);
    this.#write(pieces, written);
  }

  override _final(done: () => void): void {
    this.#number ??= this.#streams.enter(this);
    this.#streams.send(encodeEnding(this.#number, "end"));
    done();
  }

  override _destroy(reason: Error | null, done: (reason: Error | null) => void): void {
    if (this.#number !== undefined) {
      if (!this.#isBroken && !this.isWhole) this.#streams.send(encodeEnding(this.#number, "reset"));
      this.#streams.leave(this.#number, this.#window);
    }
    done(reason);
  }

  #write(pieces: Buffer[], written: () => void): void {
    this.#pieces = pieces;
    this.#written = written;
    this.#queue();
  }

  #queue(): void {
    if (this.#isQueued || !this.#written || this.#credit === 0) return;
    this.#isQueued = true;
    this.#streams.queue(this);
  }

  #giveBack(): void {
    const size = this.#window.due();
    if (size > 0 && this.#number !== undefined)
      this.#streams.send(encodeWindow(this.#number, size));
  }
}

/** Throws if it cannot be meant. */
function raised(credit: number, size: number): number {
  if (credit + size > 2 ** 31) throw new Fault("malformed", "more may be sent than there is");
  return credit + size;
}

function sizeOf(pieces: readonly Buffer[]): number {
  return pieces.reduce((sum, { length }) => sum + length, 0);
}

/** The first `size` bytes, and what is left. */
function cut(pieces: readonly Buffer[], size: number): [Buffer[], Buffer[]] {
  const first: Buffer[] = [];
  const rest: Buffer[] = [];
  let room = size;
  for (const piece of pieces) {
    if (room > 0) first.push(piece.subarray(0, room));
    if (piece.length > room) rest.push(piece.subarray(room));
    room = Math.max(0, room - piece.length);
  }
  return [first, rest];
}
