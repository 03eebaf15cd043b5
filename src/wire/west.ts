/**
 * The messages of west's tunnels, version 1 (seed-systems 1.5): a request or an answer of HTTP, whole,
 * behind three lines that say whose it is.
 *
 *     TransactionOrigin: <name>
 *     TransactionID: <uuid>
 *     X-Proxy-Protocol: http
 *
 *     GET /path HTTP/1.1
 *     name: value
 *
 *     <body>
 */
import { Fault } from "../core/fault.ts";

/** A head of either block. HTTP's own limit in Node is 16 KiB; a message of a peer may say a little more. */
const HEAD_MAX = 64 * 1024;

const BLANK = Buffer.from("\r\n\r\n");
const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
const VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;

type Field = [name: string, value: string];

/** Whose exchange a message belongs to. An answer repeats that of its request. */
type WestEnvelope = { readonly origin: string; readonly id: string };

type Start =
  | { readonly kind: "request"; readonly method: string; readonly path: string }
  | { readonly kind: "answer"; readonly status: number; readonly reason: string };

export type WestMessage = WestEnvelope & {
  readonly start: Start;
  /** Names are in lower case. */
  readonly fields: readonly Field[];
  readonly body: Buffer;
};

/** Throws `malformed` for everything that is not exactly a message. */
export function decodeWest(bytes: Buffer): WestMessage {
  const [envelope, rest] = cut(bytes, "an envelope");
  const [head, body] = cut(rest, "a header");
  const said = fieldsOf(envelope.split("\r\n"));
  const [line = "", ...lines] = head.split("\r\n");
  return {
    origin: only(said, "transactionorigin"),
    id: only(said, "transactionid"),
    start: startOf(line),
    fields: fieldsOf(lines),
    body,
  };
}

export function encodeWest({ origin, id, start, fields, body }: WestMessage): Buffer {
  const line =
    start.kind === "request"
      ? `${start.method} ${start.path} HTTP/1.1`
      : `HTTP/1.1 ${start.status} ${start.reason}`;
  const lines = fields.map(([name, value]) => `${name.toLowerCase()}: ${value}`);
  const head = [
    `TransactionOrigin: ${origin}`,
    `TransactionID: ${id}`,
    "X-Proxy-Protocol: http",
    "",
    line,
    ...lines,
    "\r\n",
  ].join("\r\n");
  return Buffer.concat([Buffer.from(head, "latin1"), body]);
}

/** What a site may be called: it travels as a field of a header. */
export function isWestName(text: string): boolean {
  return /^[\x21-\x7e]{1,255}$/.test(text);
}

function cut(bytes: Buffer, what: string): [head: string, rest: Buffer] {
  const end = bytes.subarray(0, HEAD_MAX).indexOf(BLANK);
  if (end < 0) throw malformed(`${what} does not end`);
  return [bytes.toString("latin1", 0, end), bytes.subarray(end + BLANK.length)];
}

function startOf(line: string): Start {
  const [, method, path] = /^([^ ]+) ([\x21-\x7e]+) HTTP\/1\.[01]$/.exec(line) ?? [];
  if (method !== undefined && path !== undefined && TOKEN.test(method)) {
    return { kind: "request", method, path };
  }
  const [, status, reason = ""] = /^HTTP\/1\.[01] ([1-5]\d\d)(?: (.*))?$/.exec(line) ?? [];
  if (status !== undefined && VALUE.test(reason)) {
    return { kind: "answer", status: Number(status), reason };
  }
  throw malformed("its first line is neither a request nor an answer");
}

function fieldsOf(lines: readonly string[]): Field[] {
  return lines.map((line) => {
    const colon = line.indexOf(":");
    const [name, value] = [line.slice(0, Math.max(colon, 0)), line.slice(colon + 1).trim()];
    if (!TOKEN.test(name) || !VALUE.test(value)) throw malformed("a field of it is none");
    return [name.toLowerCase(), value];
  });
}

function only(fields: readonly Field[], name: string): string {
  const [first, second] = fields.filter(([each]) => each === name);
  if (!first || second) throw malformed(`it needs one ${name}`);
  return first[1];
}

function malformed(why: string): Fault {
  return new Fault("malformed", `this is no message of west: ${why}`);
}
