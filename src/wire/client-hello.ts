/**
 * The server name in a TLS ClientHello, read without taking part in the handshake (eps-protocol 7.4).
 *
 *     record  22 version:2 length:2 │ fragment         RFC 8446 5.1; any number of them make up
 *     message  1 length:3 │ body                       RFC 8446 4;   of which the body is
 *     hello   version:2 random:32 session:<1> ciphers:<2> compression:<1> extensions:<2>
 *
 * What is behind us reads the same bytes again and believes its own reading. So whatever two readers
 * could take for different names is refused, and what names nobody (GREASE, key shares of any size,
 * the inner hello of ECH) is skipped unread.
 */
import { Fault } from "../core/fault.ts";

/** What a ClientHello says in the clear. Names have no case (RFC 6066 3), so this one is in lower case. */
export type ClientHello = { readonly server_name: string | undefined };

const HANDSHAKE = 22;
const CLIENT_HELLO = 1;
const TLS_1_2 = 0x0303; // what TLS 1.3 says as well (RFC 8446 4.1.2)
const SERVER_NAME = 0;
const HOST_NAME = 0;

const RECORD_HEADER = 5;
const RECORD_MAX = 2 ** 14;
const MESSAGE_HEADER = 4;
const BODY_MAX = 64 * 1024;
const RECORDS_MAX = 4_096; // so that 4 KiB may come in records of one byte, and no look takes long

/** Within so many bytes a ClientHello ends, or is refused: 64 KiB and the headers of its records. */
export const CLIENT_HELLO_MAX = MESSAGE_HEADER + BODY_MAX + RECORDS_MAX * RECORD_HEADER;

const NAME_MAX = 253;
const NAME = /^(?:[a-z0-9][a-z0-9-]{0,62}\.)*[a-z0-9][a-z0-9-]{0,62}$/i;

/**
 * Reads the ClientHello that a stream begins with; undefined if that needs more bytes. Throws a
 * `malformed` fault as soon as no bytes to come could make it one. Once it has answered, more bytes
 * do not change the answer.
 *
 * To be called with all bytes so far whenever some arrive: until the last one is there it only steps
 * from record to record and copies nothing.
 */
export function readClientHello(bytes: Buffer): ClientHello | undefined {
  const size = completeMessage(bytes);
  return size === undefined ? undefined : { server_name: serverName(gather(bytes, size)) };
}

/** The size of the message that the records carry, once all of it is there. */
function completeMessage(bytes: Buffer): number | undefined {
  const header: number[] = [];
  let size = MESSAGE_HEADER; // of which is known that it must come
  let before = 0; // bytes of it in earlier records
  for (let [at, records] = [0, 1]; at < bytes.length; records += 1) {
    if (bytes[at] !== HANDSHAKE) throw refusal("this is not a TLS handshake");
    if (records > RECORDS_MAX) throw refusal(`more than ${RECORDS_MAX} records`);
    const start = at + RECORD_HEADER;
    if (start > bytes.length) return undefined;
    const length = fragmentLength(bytes, at);
    if (length === 0 || length > RECORD_MAX) throw refusal(`a record of ${length} bytes`);
    if (header.length < MESSAGE_HEADER) {
      header.push(...bytes.subarray(start, start + Math.min(length, MESSAGE_HEADER)));
      size = messageSize(header);
    }
    if (before + Math.min(length, bytes.length - start) >= size) return size;
    before += length;
    at = start + length;
  }
  return undefined;
}

function messageSize([type, high, middle, low]: number[]): number {
  if (type !== undefined && type !== CLIENT_HELLO) throw refusal("this is not a ClientHello");
  if (high === undefined || middle === undefined || low === undefined) return MESSAGE_HEADER;
  const length = high * 0x10000 + middle * 0x100 + low;
  if (length > BODY_MAX) throw refusal(`a ClientHello of ${length} bytes`);
  return MESSAGE_HEADER + length;
}

/** The body of a message that is all there. It shares memory with `bytes` if one record holds it. */
function gather(bytes: Buffer, size: number): Buffer {
  const fragments: Buffer[] = [];
  let missing = size;
  for (let at = 0; missing > 0; at += RECORD_HEADER + fragmentLength(bytes, at)) {
    const start = at + RECORD_HEADER;
    const length = Math.min(missing, fragmentLength(bytes, at));
    fragments.push(bytes.subarray(start, start + length));
    missing -= length;
  }
  const [only, ...others] = fragments;
  const message = only && others.length === 0 ? only : Buffer.concat(fragments, size);
  return message.subarray(MESSAGE_HEADER);
}

/** Not by `readUInt16BE`: its checks would be more than half of what a look costs. */
function fragmentLength(bytes: Buffer, at: number): number {
  return ((bytes[at + 3] ?? 0) << 8) | (bytes[at + 4] ?? 0);
}

function serverName(body: Buffer): string | undefined {
  const hello = new Fields(body);
  if (hello.number(2) !== TLS_1_2) throw refusal("TLS before 1.2 is not spoken here");
  hello.take(32);
  if (hello.vector(1).length > 32) throw refusal("the session id is too long");
  if (hello.vector(2).length % 2 !== 0) throw refusal("half a cipher suite");
  hello.vector(1);
  const extensions = new Fields(hello.vector(2));
  // RFC 8446 4.1.2: "a valid extensions block with no data following"
  if (!hello.ended) throw refusal("something behind the extensions");

  let list: Buffer | undefined;
  while (!extensions.ended) {
    const type = extensions.number(2);
    const content = extensions.vector(2);
    if (type !== SERVER_NAME) continue;
    // RFC 8446 4.2: "There MUST NOT be more than one extension of the same type"
    if (list) throw refusal("two lists of server names");
    list = content;
  }
  return list && hostName(new Fields(list));
}

/** The name in a list of one. The list may claim to be longer than it is, as it could with the original. */
function hostName(list: Fields): string | undefined {
  const claimed = list.number(2);
  if (claimed < list.remaining) throw refusal("something behind the server names");
  if (list.number(1) !== HOST_NAME) return undefined;
  const name = list.vector(2).toString("latin1");
  // RFC 6066 3: "MUST NOT contain more than one name of the same name_type", and there is only one type.
  if (!list.ended) throw refusal("more than one server name");
  if (name.length > NAME_MAX || !NAME.test(name)) throw refusal("the server name is no DNS name");
  return name.toLowerCase();
}

/** Takes one field after the other, and faults where one is longer than what should hold it. */
class Fields {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get remaining(): number {
    return this.#bytes.length - this.#at;
  }

  get ended(): boolean {
    return this.remaining === 0;
  }

  take(size: number): Buffer {
    if (size > this.remaining) throw refusal("the ClientHello ends inside a field");
    this.#at += size;
    return this.#bytes.subarray(this.#at - size, this.#at);
  }

  number(size: 1 | 2): number {
    return this.take(size).readUIntBE(0, size);
  }

  /** Bytes with their length before them, which itself has `size` bytes. */
  vector(size: 1 | 2): Buffer {
    return this.take(this.number(size));
  }
}

function refusal(message: string): Fault {
  return new Fault("malformed", message);
}

const ALERTS = { decode_error: 50, internal_error: 80, unrecognized_name: 112 } as const;

/** A record that ends a handshake and says why (RFC 8446 6.2). The client shows it to its user. */
export function alert(name: keyof typeof ALERTS): Buffer {
  const [type, fatal] = [21, 2];
  return Buffer.from([type, 0x03, 0x03, 0, 2, fatal, ALERTS[name]]);
}
