import { Fault } from "../core/fault.ts";
import type { StoredEntry } from "./store.ts";

// The bytes of one entry, the same in every store (eps-protocol 9): version, type, length of the id
// in little-endian, the id, and the data up to the end.
const VERSION = 1;
const HEADER_BYTES = 4;

const ENTRY_ID_BYTES_MAX = 0xffff;

export function encodeEntry({ type, id, data }: StoredEntry): Buffer {
  if (id.length > ENTRY_ID_BYTES_MAX) {
    throw new Fault("too_large", `an entry's id has at most ${ENTRY_ID_BYTES_MAX} bytes`);
  }
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt8(VERSION, 0);
  header.writeUInt8(type, 1);
  header.writeUInt16LE(id.length, 2);
  return Buffer.concat([header, id, data]);
}

export function decodeEntry(bytes: Buffer): StoredEntry {
  if (bytes.length < HEADER_BYTES) {
    throw new Fault("malformed", `an entry of ${bytes.length} bytes is too short`);
  }
  const version = bytes.readUInt8(0);
  if (version !== VERSION) {
    throw new Fault("malformed", `entry version ${version} where ${VERSION} is known`);
  }
  const end = HEADER_BYTES + bytes.readUInt16LE(2);
  if (end > bytes.length) {
    throw new Fault("malformed", `an id that ends at byte ${end} of ${bytes.length}`);
  }
  return {
    type: bytes.readUInt8(1),
    id: bytes.subarray(HEADER_BYTES, end),
    data: bytes.subarray(end),
  };
}
