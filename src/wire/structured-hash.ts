import { createHash, type Hash } from "node:crypto";
import { DEPTH_MAX, type Json } from "./json.ts";

/**
 * The SHA-256 that signatures of the directory are made over, byte for byte the original's
 * (eps-protocol 8.4).
 *
 * A value that says nothing (null, "", 0, false, []) is not written at all, so a key with such a
 * value and no key are the same. The form has no lengths and is not injective: check what a value
 * looks like before trusting its hash.
 */
export function structuredHash(value: unknown): Buffer {
  const hash = createHash("sha256");
  add(hash, value as Json | undefined, DEPTH_MAX);
  return hash.digest();
}

/** Writes a value and tells whether there was anything to write. */
function add(hash: Hash, value: Json | undefined, depth: number): boolean {
  if (isZero(value)) return false;
  if (depth < 0) throw new RangeError(`nested deeper than ${DEPTH_MAX}`);
  if (typeof value === "string") addText(hash, value);
  else if (typeof value === "number") addNumber(hash, value);
  else if (value === true) addTrue(hash);
  else if (Array.isArray(value)) addList(hash, value, depth - 1);
  else addMap(hash, value as { [key: string]: Json }, depth - 1);
  return true;
}

/** Minus zero is something: its bits differ from those of zero. */
function isZero(value: Json | undefined): value is undefined {
  if (value === undefined || value === null || value === "" || value === false) return true;
  return Object.is(value, 0) || (Array.isArray(value) && value.length === 0);
}

function addText(hash: Hash, text: string): void {
  hash.update(`string${text}`, "utf8");
}

/** A little-endian double, padded to ten bytes like every number. */
function addNumber(hash: Hash, number: number): void {
  const bytes = Buffer.alloc(10);
  bytes.writeDoubleLE(number);
  addText(hash, "float");
  hash.update(bytes);
}

/** One as a zig-zag varint, padded likewise. */
function addTrue(hash: Hash): void {
  addText(hash, "bool");
  hash.update(Buffer.from([2, 0, 0, 0, 0, 0, 0, 0, 0, 0]));
}

/** An index is written even where the element is not. */
function addList(hash: Hash, list: Json[], depth: number): void {
  addText(hash, "list");
  for (const [index, each] of list.entries()) {
    addText(hash, String(index));
    add(hash, each, depth);
  }
}

/** The value comes before its key, and decides whether the key is written. */
function addMap(hash: Hash, map: { [key: string]: Json }, depth: number): void {
  addText(hash, "map");
  for (const key of Object.keys(map).sort(byUtf8)) {
    if (add(hash, map[key], depth)) addText(hash, key);
  }
}

/** The default order is by UTF-16, which puts U+1F600 before U+FFEE. */
function byUtf8(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}
