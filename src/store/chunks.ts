/**
 * The pieces an entry has in a file (eps-protocol 9.1).
 *
 *     ┌───────┬───────┬───────┬───────────┬──────────┬────────────────┬─────────────┐
 *     │ 1     │ count │ index │ id length │ chunk id │ payload length │ payload     │
 *     │ 1     │ 2     │ 2     │ 2 (= 16)  │ 16       │ 2 (≤ 231)      │ ≤ 231 bytes │
 *     └───────┴───────┴───────┴───────────┴──────────┴────────────────┴─────────────┘
 *
 * Numbers are little-endian. The chunk id is random and common to all pieces of one entry, so the
 * pieces of several entries may interleave. Nothing here knows files, and there is no checksum: a
 * flipped bit in a payload is left to whoever verifies the signature inside it.
 */
import { explain, Fault } from "../core/fault.ts";
import { decodeEntry } from "./entry.ts";
import type { StoredEntry } from "./store.ts";

const VERSION = 1;
export const CHUNK_ID_BYTES = 16;
const HEADER_BYTES = 25;
const PAYLOAD_BYTES_MAX = 231;
const CHUNKS_MAX = 0xffff;

/** Bytes that no writer can have left there, however it ended. */
export class Damage extends Error {
  readonly offset: number;

  constructor(offset: number, message: string) {
    super(message);
    this.offset = offset;
  }
}

type Chunk = { size: number; count: number; index: number; id: string; payload: Buffer };

/** All chunks of one entry, one behind the other. */
export function toChunks(entry: Buffer, id: Buffer): Buffer {
  const count = Math.ceil(entry.length / PAYLOAD_BYTES_MAX);
  if (count > CHUNKS_MAX) {
    throw new Fault(
      "too_large",
      `an entry of ${entry.length} bytes: at most ${CHUNKS_MAX * PAYLOAD_BYTES_MAX} can be stored`,
    );
  }
  const chunks: Buffer[] = [];
  for (let index = 0; index < count; index += 1) {
    const payload = entry.subarray(index * PAYLOAD_BYTES_MAX, (index + 1) * PAYLOAD_BYTES_MAX);
    const header = Buffer.alloc(HEADER_BYTES);
    header.writeUInt8(VERSION, 0);
    header.writeUInt16LE(count, 1);
    header.writeUInt16LE(index, 3);
    header.writeUInt16LE(CHUNK_ID_BYTES, 5);
    id.copy(header, 7, 0, CHUNK_ID_BYTES);
    header.writeUInt16LE(payload.length, 23);
    chunks.push(header, payload);
  }
  return Buffer.concat(chunks);
}

/**
 * The chunk that begins at `at`, or nothing when the bytes end before it does. `offset` is where
 * these bytes lie in their file, for the complaint if they are no chunk.
 */
export function parseChunk(bytes: Buffer, at: number, offset: number): Chunk | undefined {
  if (at >= bytes.length) return undefined;
  const damage = (what: string): Damage => new Damage(offset + at, what);
  const version = bytes.readUInt8(at);
  if (version !== VERSION) throw damage(`chunk version ${version} where ${VERSION} is known`);
  if (bytes.length - at < HEADER_BYTES) return undefined;

  const count = bytes.readUInt16LE(at + 1);
  const index = bytes.readUInt16LE(at + 3);
  if (index >= count) throw damage(`chunk ${index} of ${count}, counted from 0`);
  const idLength = bytes.readUInt16LE(at + 5);
  if (idLength !== CHUNK_ID_BYTES) throw damage(`a chunk id of ${idLength} bytes`);
  const length = bytes.readUInt16LE(at + 23);
  if (length > PAYLOAD_BYTES_MAX) throw damage(`a chunk with ${length} bytes of payload`);

  const size = HEADER_BYTES + length;
  if (bytes.length - at < size) return undefined;
  const id = bytes.toString("latin1", at + 7, at + 7 + CHUNK_ID_BYTES);
  return { size, count, index, id, payload: bytes.subarray(at + HEADER_BYTES, at + size) };
}

type Span = { from: number; to: number };
type Unfinished = { count: number; spans: Span[]; payloads: Buffer[] };

/** Puts the chunks of a file together again. An entry is served when its last chunk has been seen. */
export class Assembler {
  readonly #unfinished = new Map<string, Unfinished>();
  readonly #finished: Array<{ from: number; entry: StoredEntry }> = [];

  add({ id, count, index, payload, size }: Chunk, offset: number): void {
    const entry = this.#unfinished.get(id) ?? { count, spans: [], payloads: [] };
    const expected = entry.payloads.length;
    if (index !== expected) {
      throw new Damage(offset, `chunk ${index} of an entry whose next chunk is ${expected}`);
    }
    if (count !== entry.count) {
      throw new Damage(offset, `a chunk that counts ${count} pieces, and ${entry.count} before`);
    }
    entry.spans.push({ from: offset, to: offset + size });
    // A copy, because the payload is a window into a much larger block.
    entry.payloads.push(Buffer.from(payload));
    if (entry.payloads.length < count) {
      this.#unfinished.set(id, entry);
      return;
    }
    this.#unfinished.delete(id);
    const from = entry.spans[0]?.from ?? offset;
    try {
      this.#finished.push({ from, entry: decodeEntry(Buffer.concat(entry.payloads)) });
    } catch (reason) {
      throw new Damage(from, explain(reason));
    }
  }

  /** The finished entries, in the order of their first chunks. */
  entries(): StoredEntry[] {
    return this.#finished.sort((a, b) => a.from - b.from).map(({ entry }) => entry);
  }

  /**
   * What is left of entries that still miss chunks: `tail` is where the run of their chunks that ends
   * at `end` begins, and `skipped` how many of them have chunks before it, among finished entries.
   */
  unfinished(end: number): { tail: number; skipped: number } {
    const spans = [...this.#unfinished.values()].flatMap((entry) => entry.spans);
    let tail = end;
    for (const { from, to } of spans.sort((a, b) => b.from - a.from)) {
      if (to !== tail) break;
      tail = from;
    }
    const firsts = [...this.#unfinished.values()].map((entry) => entry.spans[0]?.from ?? end);
    return { tail, skipped: firsts.filter((from) => from < tail).length };
  }
}
