/**
 * The messages of RelayServer: `length:4 message`, in protobuf as `proto/relayserver.proto` says
 * (seed-systems 2.2). Fields of a later version are passed over.
 */
import protobuf from "protobufjs";
import { Fault } from "../core/fault.ts";
import { packageFile } from "../core/package.ts";

const VERSION = 1;
const LENGTH_SIZE = 4;
/** No message of the protocol comes near it, whatever host name or token it carries. */
const MESSAGE_MAX = 1_024;
const INT32_MAX = 2 ** 31 - 1;

const PROTO = packageFile("proto/relayserver.proto");
const root = new protobuf.Root().loadSync(PROTO, { keepCase: true });
const [HELLO, RESPONSE, COMMAND] = ["Hello", "HostProcessHelloResponse", "Command"].map((name) =>
  root.lookupType(`relay.${name}`),
) as [protobuf.Type, protobuf.Type, protobuf.Type];

/** Who wants to wait for clients. An original says none of this: its pool is the port it dialled. */
type RelayHello = { service?: string; owner?: string; token?: string };

/** A connection may wait now. `relay_port` is where clients come in. */
type HelloResponse = { session: number; relay_host: string; relay_port: string };

/** A session was given a client (`open`), or its client left (`drop`). */
export type Announcement = { what: "open" | "drop"; session: number };

export function encodeHello(hello: RelayHello): Buffer {
  return framed(HELLO, { version: VERSION, ...hello });
}

export function decodeHello(message: Buffer): RelayHello {
  const { version, ...hello } = decoded(HELLO, message);
  checkVersion(version);
  return hello as RelayHello;
}

export function encodeHelloResponse({ session, ...relay }: HelloResponse): Buffer {
  return framed(RESPONSE, { session_id: session, ...relay });
}

export function decodeHelloResponse(message: Buffer): HelloResponse {
  const { session_id, relay_host, relay_port } = decoded(RESPONSE, message);
  return { session: sessionOf(session_id), relay_host, relay_port } as HelloResponse;
}

export function encodeAnnouncement({ what, session }: Announcement): Buffer {
  return framed(COMMAND, {
    version: VERSION,
    ...(what === "open"
      ? { message_type: 0, open_properties: { assigned_to_session: session } }
      : { message_type: 1, drop_properties: { session_id: session } }),
  });
}

/** Undefined if it announces something that we do not know, which a later relay may do. */
export function decodeAnnouncement(message: Buffer): Announcement | undefined {
  const { version, message_type, open_properties, drop_properties } = decoded(COMMAND, message);
  checkVersion(version);
  if (message_type === 0) {
    return { what: "open", session: sessionOf(propertyOf(open_properties, "assigned_to_session")) };
  }
  if (message_type === 1) {
    return { what: "drop", session: sessionOf(propertyOf(drop_properties, "session_id")) };
  }
  return undefined;
}

/**
 * Cuts a stream into messages, however it is segmented. What is behind the messages that somebody
 * wanted stays here: after a hello the bytes are no messages any more.
 */
export class RelayMessages {
  #bytes: Buffer = Buffer.alloc(0);

  add(chunk: Buffer): void {
    this.#bytes = this.#bytes.length === 0 ? chunk : Buffer.concat([this.#bytes, chunk]);
  }

  /** The next message, without its length; undefined if it is not all there. Throws `too_large`. */
  take(): Buffer | undefined {
    const bytes = this.#bytes;
    checkLength(bytes);
    if (bytes.length < LENGTH_SIZE) return undefined;
    const end = LENGTH_SIZE + bytes.readUInt32BE(0);
    if (bytes.length < end) return undefined;
    this.#bytes = bytes.subarray(end);
    return bytes.subarray(LENGTH_SIZE, end);
  }

  /** What came behind the messages taken; it is the caller's from now on. */
  rest(): Buffer {
    const rest = this.#bytes;
    this.#bytes = Buffer.alloc(0);
    return rest;
  }
}

/** Each byte of a length is looked at as soon as it is there, so that other protocols fail at once. */
function checkLength(bytes: Buffer): void {
  const soFar = bytes.subarray(0, LENGTH_SIZE);
  const atLeast = Buffer.concat([soFar, Buffer.alloc(LENGTH_SIZE - soFar.length)]).readUInt32BE(0);
  if (atLeast > MESSAGE_MAX) {
    throw new Fault("too_large", `this is no message of RelayServer: ${atLeast} bytes long`);
  }
}

function framed(type: protobuf.Type, fields: Record<string, unknown>): Buffer {
  const message = type.encode(fields).finish();
  const bytes = Buffer.alloc(LENGTH_SIZE + message.length);
  bytes.writeUInt32BE(message.length, 0);
  bytes.set(message, LENGTH_SIZE);
  return bytes;
}

function decoded(type: protobuf.Type, message: Buffer): Record<string, unknown> {
  try {
    return type.toObject(type.decode(message));
  } catch (cause) {
    throw new Fault("malformed", `this is no ${type.name} of RelayServer`, { cause });
  }
}

function propertyOf(properties: unknown, name: string): unknown {
  return (properties as Record<string, unknown> | undefined)?.[name];
}

function sessionOf(value: unknown): number {
  if (Number.isInteger(value) && (value as number) >= 0 && (value as number) <= INT32_MAX)
    return value as number;
  throw new Fault("malformed", "a session of RelayServer is a number from 0");
}

function checkVersion(version: unknown): void {
  if (version !== VERSION) {
    throw new Fault("malformed", `version ${version} of RelayServer is not spoken here, only 1`);
  }
}
