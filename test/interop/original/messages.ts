/*
 * The messages of an original endpoint (eps-protocol 3.1, 3.2), written and read byte by byte. Like all
 * of this folder it leans on Node and on the specification, and on nothing of `src/`.
 */
import type { Readable } from "node:stream";
import { double, field, fieldsOf, whole } from "../../support/protobuf.ts";

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
export type JsonObject = { [key: string]: Json };

export type Request = { method: string; params: JsonObject; id: string; clientName: string };
export type Response = {
  id: string;
  result?: JsonObject | undefined;
  error?: { code: number; message: string; data?: JsonObject };
};

export function writeRequest({ method, params, id, clientName }: Request): Buffer {
  return Buffer.concat([
    field(1, method),
    field(2, struct(params)),
    field(3, id),
    field(4, clientName),
  ]);
}

/** Fields that are not known are a mistake here, not the future. */
export function readRequest(bytes: Buffer): Request {
  const request: Request = { method: "", params: {}, id: "", clientName: "" };
  for (const { number, value } of fieldsOf(bytes)) {
    if (number === 1) request.method = String(value);
    else if (number === 2) request.params = readStruct(value as Buffer);
    else if (number === 3) request.id = String(value);
    else if (number === 4) request.clientName = String(value);
    else throw new Error(`Request has no field ${number}`);
  }
  return request;
}

export function writeResponse({ id, result, error }: Response): Buffer {
  return Buffer.concat([
    field(1, id),
    ...(result ? [field(2, struct(result))] : []),
    ...(error ? [field(3, whole(1, error.code), field(2, error.message))] : []),
  ]);
}

export function readResponse(bytes: Buffer): Response {
  const response: Response = { id: "", result: {} };
  for (const { number, value } of fieldsOf(bytes)) {
    if (number === 1) response.id = String(value);
    else if (number === 2) response.result = readStruct(value as Buffer);
    else if (number === 3) response.error = readError(value as Buffer);
    else throw new Error(`Response has no field ${number}`);
  }
  return response;
}

function readError(bytes: Buffer): NonNullable<Response["error"]> {
  const error = { code: 0, message: "", data: {} as JsonObject };
  for (const { number, value } of fieldsOf(bytes)) {
    if (number === 1) error.code = Number(value);
    else if (number === 2) error.message = String(value);
    else if (number === 3) error.data = readStruct(value as Buffer);
    else throw new Error(`Error has no field ${number}`);
  }
  return error;
}

function struct(object: JsonObject): Buffer {
  const entries = Object.entries(object).map(([key, each]) =>
    field(1, field(1, key), field(2, value(each))),
  );
  return Buffer.concat(entries);
}

function value(json: Json): Buffer {
  if (json === null) return whole(1, 0);
  if (typeof json === "number") return double(2, json);
  if (typeof json === "string") return field(3, json);
  if (typeof json === "boolean") return whole(4, json ? 1 : 0);
  if (Array.isArray(json)) return field(6, ...json.map((each) => field(1, value(each))));
  return field(5, struct(json));
}

function readStruct(bytes: Buffer): JsonObject {
  const object: JsonObject = {};
  for (const entry of fieldsOf(bytes)) {
    const pair = fieldsOf(entry.value as Buffer);
    const key = pair.find(({ number }) => number === 1)?.value ?? "";
    const found = pair.find(({ number }) => number === 2)?.value ?? Buffer.alloc(0);
    object[String(key)] = readValue(found as Buffer);
  }
  return object;
}

function readValue(bytes: Buffer): Json {
  const [kind] = fieldsOf(bytes);
  if (!kind || kind.number === 1) return null;
  if (kind.number === 2) return kind.value as number;
  if (kind.number === 3) return String(kind.value);
  if (kind.number === 4) return kind.value === 1;
  if (kind.number === 5) return readStruct(kind.value as Buffer);
  return fieldsOf(kind.value as Buffer).map((each) => readValue(each.value as Buffer));
}

/** The messages of a gRPC stream, without the five bytes before each. */
export async function* messagesOf(stream: Readable): AsyncGenerator<Buffer, void> {
  let bytes = Buffer.alloc(0);
  for await (const chunk of stream) {
    bytes = Buffer.concat([bytes, chunk as Buffer]);
    while (bytes.length >= 5 && bytes.length >= 5 + bytes.readUInt32BE(1)) {
      if (bytes[0] !== 0) throw new Error("an original does not know compression");
      const end = 5 + bytes.readUInt32BE(1);
      yield bytes.subarray(5, end);
      bytes = bytes.subarray(end);
    }
  }
}
