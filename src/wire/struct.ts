import { Fault } from "../core/fault.ts";
import { DEPTH_MAX, type Json, type JsonObject } from "./json.ts";

/** google.protobuf.Struct and Value as proto-loader shows them: `kind` names the field that is set. */
export type Struct = { fields: Record<string, Value> };
type Value = {
  kind?: string;
  nullValue?: number | string;
  numberValue?: number;
  stringValue?: string;
  boolValue?: boolean;
  structValue?: Struct;
  listValue?: { values?: Value[] };
};

/** JSON to Struct (eps-protocol 3.2). Throws a `malformed` fault where the value nests too deeply. */
export function toStruct(object: JsonObject, depth = 0): Struct {
  if (depth > DEPTH_MAX) throw new Fault("malformed", `values may nest ${DEPTH_MAX} levels deep`);
  return { fields: mapValues(object, (value) => toValue(value, depth)) };
}

function toValue(value: Json | undefined, depth: number): Value {
  if (value === null || value === undefined) return { nullValue: 0 };
  if (typeof value === "number") return { numberValue: value };
  if (typeof value === "string") return { stringValue: value };
  if (typeof value === "boolean") return { boolValue: value };
  if (!Array.isArray(value)) return { structValue: toStruct(value, depth + 1) };
  if (depth >= DEPTH_MAX) throw new Fault("malformed", `values may nest ${DEPTH_MAX} levels deep`);
  return { listValue: { values: value.map((item) => toValue(item, depth + 1)) } };
}

/** Struct to JSON: an absent one is `{}`, a value of no kind is null, NaN and infinities become text. */
export function fromStruct(struct: Struct | null | undefined): JsonObject {
  return mapValues(struct?.fields ?? {}, fromValue);
}

function fromValue(value: Value): Json {
  switch (value.kind) {
    case "numberValue": {
      const number = value.numberValue ?? 0;
      return Number.isFinite(number) ? number : String(number);
    }
    case "stringValue":
      return value.stringValue ?? "";
    case "boolValue":
      return value.boolValue ?? false;
    case "structValue":
      return fromStruct(value.structValue);
    case "listValue":
      return (value.listValue?.values ?? []).map(fromValue);
    default:
      return null;
  }
}

/** A key `__proto__` is defined instead of assigned, so that it is only a key. */
function mapValues<A, B>(object: Record<string, A>, change: (value: A) => B): Record<string, B> {
  const changed: Record<string, B> = {};
  for (const key of Object.keys(object)) {
    const value = change(object[key] as A);
    if (key !== "__proto__") changed[key] = value;
    else
      Object.defineProperty(changed, key, {
        value,
        enumerable: true,
        configurable: true,
        writable: true,
      });
  }
  return changed;
}
