/**
 * What the start of a ZMTP 3 connection says in the clear (RFC 23 and 26, seed-systems 3.5), so that a
 * relay without keys can tell who is worth a worker:
 *
 *     greeting   FF padding:8 7F version:2 mechanism:20 as-server:1 filler:31    both sides at once
 *     frame      flags:1 size:1 or 8 │ body          of a command, the body begins with name:<1>
 *
 *     client  greeting · HELLO ·         INITIATE ·          messages
 *     worker  greeting ·       · WELCOME ·        · READY ·  messages
 */
import { Fault } from "../core/fault.ts";

export const GREETING_SIZE = 64;
/** What a peer says while nobody has greeted it. */
export const SIGNATURE_SIZE = 10;
const MECHANISM_AT = 12;
const MECHANISM_SIZE = 20;
const AS_SERVER_AT = 32;
const MAJOR = 3;

/** Bytes of the two CURVE commands that begin a handshake, with the headers of their frames. */
const HELLO_SIZE = 202;
const WELCOME_SIZE = 170;
/** A CURVE client's greeting and HELLO. */
export const OPENING_SIZE = GREETING_SIZE + HELLO_SIZE;
const HELLO_START = Buffer.concat([
  Buffer.from([0x04, HELLO_SIZE - 2]),
  named("HELLO"),
  Buffer.from([1, 0]), // version of CURVE
  Buffer.alloc(72), // padding, so that an answer is never larger than what it answers
]);
const WELCOME_START = Buffer.concat([Buffer.from([0x04, WELCOME_SIZE - 2]), named("WELCOME")]);

const LONG = 0x02;
const COMMAND = 0x04;
/** No command of a handshake comes near it; metadata makes INITIATE and READY longest. */
const COMMAND_MAX = 64 * 1024;

/** The mechanisms whose names libzmq knows. */
type Mechanism = "NULL" | "PLAIN" | "CURVE" | "GSSAPI";

type Greeting = {
  readonly minor: number;
  readonly mechanism: string;
  /** What the side says it is; libzmq says false on both sides of CURVE. */
  readonly as_server: boolean;
};

/** The greeting of ZMTP 3.1, as libzmq writes it for a socket without an identity. */
export function encodeGreeting(mechanism: Mechanism): Buffer {
  const bytes = Buffer.alloc(GREETING_SIZE);
  bytes.set([0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, MAJOR, 1]);
  bytes.write(mechanism, MECHANISM_AT, "latin1");
  return bytes;
}

/**
 * Reads the greeting that a stream begins with; undefined if that needs more bytes. Throws a
 * `malformed` fault as soon as no bytes to come could make it one, and `forbidden` as soon as the
 * mechanism is not the one that is `wanted`. To be called with all bytes so far; the first wrong byte
 * decides, however they are segmented.
 */
export function readGreeting(bytes: Buffer, wanted?: Mechanism): Greeting | undefined {
  if (bytes.length > 0 && bytes[0] !== 0xff) throw refusal("no ZeroMQ signature");
  if (bytes.length >= SIGNATURE_SIZE && bytes[SIGNATURE_SIZE - 1] !== 0x7f)
    throw refusal("no ZeroMQ signature");
  const major = bytes[SIGNATURE_SIZE];
  if (major !== undefined && major < MAJOR) throw refusal(`ZMTP ${major}, and 3 is the first here`);
  const field = bytes.subarray(MECHANISM_AT, MECHANISM_AT + MECHANISM_SIZE);
  checkMechanism(field, wanted);
  if ((bytes[AS_SERVER_AT] ?? 0) > 1) throw refusal("it is neither server nor client");
  if (bytes.length < GREETING_SIZE) return undefined;
  return {
    minor: bytes.readUInt8(SIGNATURE_SIZE + 1),
    mechanism: field.toString("latin1").replaceAll("\0", ""),
    as_server: bytes[AS_SERVER_AT] === 1,
  };
}

const NAME_SO_FAR = /^(?:[A-Z0-9_.+-]+\0*)?$/;

function checkMechanism(field: Buffer, wanted: Mechanism | undefined): void {
  if (wanted) {
    const expected = Buffer.alloc(MECHANISM_SIZE);
    expected.write(wanted, "latin1");
    if (field.equals(expected.subarray(0, field.length))) return;
    throw new Fault("forbidden", `only the mechanism ${wanted} is let in here`);
  }
  if (!NAME_SO_FAR.test(field.toString("latin1"))) throw refusal("the mechanism has no name");
}

/**
 * How many bytes a CURVE client says before it needs a worker, its greeting and its HELLO; undefined
 * if some are missing. Throws as `readGreeting` does: what no CURVE client says never costs a worker.
 */
export function readCurveHello(bytes: Buffer): number | undefined {
  if (!readGreeting(bytes, "CURVE")) return undefined;
  checkStart(bytes.subarray(GREETING_SIZE), HELLO_START, "HELLO");
  return bytes.length < OPENING_SIZE ? undefined : OPENING_SIZE;
}

/**
 * Says that a worker has answered a HELLO: its greeting and all of its WELCOME are there, and bytes
 * from `GREETING_SIZE` on are the client's. Until then another worker may be asked instead, and the
 * client never knows.
 */
export function readCurveWelcome(bytes: Buffer): true | undefined {
  if (!readGreeting(bytes, "CURVE")) return undefined;
  checkStart(bytes.subarray(GREETING_SIZE), WELCOME_START, "WELCOME");
  return bytes.length < GREETING_SIZE + WELCOME_SIZE ? undefined : true;
}

/** A READY is no larger: its routing id has at most 255 bytes, and nothing else in it is long. */
const READY_MAX = 1_024;
/** Within so many bytes a peer with NULL has said its greeting and its READY. */
export const INTRODUCTION_MAX = GREETING_SIZE + 9 + READY_MAX;
const READY = named("READY");
const SOCKET_TYPE = "Socket-Type";

/**
 * What socket a peer with NULL is, which its READY says behind its greeting (RFC 23); undefined if that needs
 * more bytes. Throws as `readGreeting` does.
 */
export function readSocketType(bytes: Buffer): string | undefined {
  if (!readGreeting(bytes, "NULL")) return undefined;
  const frame = bytes.subarray(GREETING_SIZE);
  const [flags] = frame;
  if (flags === undefined) return undefined;
  if ((flags & ~LONG) !== COMMAND) throw refusal("no READY follows the greeting");
  const start = flags & LONG ? 9 : 2;
  if (frame.length < start) return undefined;
  const size = flags & LONG ? Number(frame.readBigUInt64BE(1)) : frame.readUInt8(1);
  if (size > READY_MAX) throw refusal("its READY is too long");
  if (frame.length < start + size) return undefined;
  const body = frame.subarray(start, start + size);
  if (!body.subarray(0, READY.length).equals(READY)) throw refusal("no READY follows the greeting");
  return propertyOf(body.subarray(READY.length), SOCKET_TYPE);
}

/** A value of metadata, which is `name:<1> value:<4>` again and again. */
function propertyOf(metadata: Buffer, wanted: string): string {
  let at = 0;
  const take = (size: number): Buffer => {
    if (at + size > metadata.length) throw refusal("its metadata is cut");
    at += size;
    return metadata.subarray(at - size, at);
  };
  while (at < metadata.length) {
    const name = take(take(1).readUInt8()).toString("latin1");
    const value = take(take(4).readUInt32BE()).toString("latin1");
    if (name.toLowerCase() === wanted.toLowerCase()) return value;
  }
  throw refusal(`it has no ${wanted}`);
}

function checkStart(bytes: Buffer, start: Buffer, name: string): void {
  const size = Math.min(bytes.length, start.length);
  if (!bytes.subarray(0, size).equals(start.subarray(0, size)))
    throw refusal(`no ${name} follows the greeting`);
}

/** Where the worker's half of a handshake is: READY ends it well, ERROR or nonsense does not. */
type HandshakeState = "handshaking" | "ready" | "failed";

/**
 * Watches what a worker sends behind its greeting until the handshake is over. It only looks:
 * nothing needs it for forwarding, and it keeps no more than the head of one frame.
 */
export class HandshakeWatch {
  #state: HandshakeState = "handshaking";
  #head = Buffer.alloc(0);
  #skip = 0;

  /** The next bytes in order; the state that they lead to. */
  see(chunk: Buffer): HandshakeState {
    let at = 0;
    while (this.#state === "handshaking" && at < chunk.length) {
      const skipped = Math.min(this.#skip, chunk.length - at);
      this.#skip -= skipped;
      at += skipped;
      if (this.#skip > 0 || at === chunk.length) break;
      const missing = HEAD_MAX - this.#head.length;
      const kept = this.#head.length;
      this.#head = Buffer.concat([this.#head, chunk.subarray(at, at + missing)]);
      const frame = readCommand(this.#head);
      if (frame === "more") break;
      if (frame === "failed" || frame.name === "ERROR") this.#state = "failed";
      else if (frame.name === "READY") this.#state = "ready";
      else {
        const end = at - kept + frame.size;
        this.#skip = Math.max(0, end - chunk.length);
        at = Math.min(end, chunk.length);
        this.#head = Buffer.alloc(0);
      }
    }
    return this.#state;
  }
}

/** Flags, a long size, and the longest name that ends a handshake. */
const NAME_MAX = "READY".length;
const HEAD_MAX = 1 + 8 + 1 + NAME_MAX;

/** The name of a command, if it is one that ends a handshake, and the size of its frame. */
function readCommand(head: Buffer): { name: string; size: number } | "more" | "failed" {
  const flags = head.readUInt8(0);
  if ((flags & ~LONG) !== COMMAND) return "failed";
  const start = flags & LONG ? 9 : 2;
  if (head.length < start) return "more";
  const size = flags & LONG ? Number(head.readBigUInt64BE(1)) : head.readUInt8(1);
  if (size > COMMAND_MAX) return "failed";
  const letters = head[start];
  if (letters === undefined && size > 0) return "more";
  if (!letters || letters >= size) return "failed"; // no name, or one that is longer than its frame
  const end = start + 1 + letters;
  if (letters > NAME_MAX) return { name: "", size: start + size };
  if (head.length < end) return "more";
  return { name: head.toString("latin1", start + 1, end), size: start + size };
}

function named(name: string): Buffer {
  return Buffer.concat([Buffer.from([name.length]), Buffer.from(name, "latin1")]);
}

function refusal(what: string): Fault {
  return new Fault("malformed", `this is no ZeroMQ connection of ours: ${what}`);
}
