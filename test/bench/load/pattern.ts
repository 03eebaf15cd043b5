import { memory } from "./system-calls.ts";

/** How much is sent or received by one call. Fits into the second-level cache. */
export const CHUNK = 256 * 1_024;
/** A prime, so that nothing that is cut at powers of two lines up with it again. */
const PERIOD = 65_521;
const STEP = 4_099;
const EDGE = 64;
/** Every so many chunks one is compared to the last byte, the others at both of their ends. */
const WHOLE_EVERY = 64;

/**
 * What circuits carry: bytes that depend on their position and on the number of their circuit, so
 * that one lost, doubled, moved, or brought to another circuit does not go unnoticed.
 */
const pattern = memory(PERIOD + CHUNK);
for (let at = 0, seed = 0x9e3779b9; at < pattern.bytes.length; at += 1) {
  seed ^= seed << 13;
  seed ^= seed >>> 17;
  seed ^= seed << 5;
  pattern.bytes[at] = at < PERIOD ? seed >>> 24 : (pattern.bytes[at - PERIOD] ?? 0);
}

function offset(circuit: number, position: number): number {
  return (circuit * STEP + position) % PERIOD;
}

/** The address of a chunk that this circuit carries at this position. */
export function chunkAt(circuit: number, position: number): number {
  return pattern.address + offset(circuit, position);
}

const into = memory(CHUNK);
/** Where received chunks are put, one after the other. */
export const incoming = into.address;

/** Throws unless the chunk just received is what this circuit carries at this position. */
export function check(circuit: number, position: number, length: number, chunk: number): void {
  const from = offset(circuit, position);
  const edge = Math.min(length, EDGE);
  const whole = chunk % WHOLE_EVERY === 0;
  const same = (at: number, count: number): boolean =>
    into.bytes.compare(pattern.bytes, from + at, from + at + count, at, at + count) === 0;
  if (whole ? same(0, length) : same(0, edge) && same(length - edge, edge)) return;
  throw new Error(`circuit ${circuit} brought other bytes than were sent, near ${position}`);
}
