import { createHash } from "node:crypto";
import type { Json } from "./messages.ts";

/** The structured hash of JSON (eps-protocol 8.4), written a second time. */
export function structuredHash(value: unknown): Buffer {
  return createHash("sha256")
    .update(stream(value as Json) ?? "")
    .digest();
}

const said = (text: string): Buffer => Buffer.from(`string${text}`);

/** The bytes of a value; undefined for one that says nothing. */
function stream(value: Json | undefined): Buffer | undefined {
  if (value === null || value === undefined || value === "" || value === false) return undefined;
  if (typeof value === "string") return said(value);
  if (value === true) return Buffer.concat([said("bool"), Buffer.from([2]), Buffer.alloc(9)]);
  if (typeof value === "number") {
    if (Object.is(value, 0)) return undefined;
    const bytes = Buffer.alloc(10);
    bytes.writeDoubleLE(value);
    return Buffer.concat([said("float"), bytes]);
  }
  if (Array.isArray(value)) {
    if (value.length === 0) return undefined;
    const items = value.flatMap((each, index) => [
      said(`${index}`),
      stream(each) ?? Buffer.alloc(0),
    ]);
    return Buffer.concat([said("list"), ...items]);
  }
  const keys = Object.keys(value).sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  const items = keys.flatMap((key) => {
    const bytes = stream(value[key]);
    return bytes ? [bytes, said(key)] : [];
  });
  return Buffer.concat([said("map"), ...items]);
}
