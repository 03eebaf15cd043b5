import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Json, JsonObject } from "../../../src/wire/json.ts";
import { fromStruct, type Struct, toStruct } from "../../../src/wire/struct.ts";

/** What proto-loader does to a message on its way: each value gets the name of its field. */
function received(struct: Struct): Struct {
  return JSON.parse(JSON.stringify(struct), (_, value) => {
    const kind =
      value && typeof value === "object" ? Object.keys(value).find((key) => KINDS.has(key)) : "";
    return kind ? { ...value, kind } : value;
  });
}
const KINDS = new Set([
  ...["nullValue", "numberValue", "stringValue", "boolValue", "structValue", "listValue"],
]);

const nest = (levels: number, wrap: (value: Json) => Json): JsonObject => {
  let value: Json = 1;
  for (let level = 0; level < levels; level += 1) value = wrap(value);
  return { a: value };
};

describe("a Struct", () => {
  it("gives back the JSON that it was made from, whatever it is", () => {
    const key = fc.oneof(fc.string(), fc.constantFrom("__proto__", "constructor", "toString", ""));
    const object = fc
      .dictionary(key, fc.jsonValue({ maxDepth: 5 }), { noNullPrototype: true })
      // JSON knows no -0, and the helper above would take these keys for names of fields.
      .map((value) => JSON.parse(JSON.stringify(value)) as JsonObject)
      .filter((value) => ![...KINDS].some((kind) => JSON.stringify(value).includes(kind)));
    fc.assert(
      fc.property(object, (value) => {
        expect(fromStruct(received(toStruct(value)))).toEqual(value);
      }),
    );
  });

  it("takes a key __proto__ for a key", () => {
    const value = JSON.parse('{"__proto__":{"admin":true}}') as JsonObject;
    const struct = toStruct(value);
    expect(Object.keys(struct.fields)).toEqual(["__proto__"]);
    const fields = JSON.parse('{"__proto__":{"kind":"boolValue","boolValue":true}}');
    const back = fromStruct({ fields });
    expect(Object.entries(back)).toEqual([["__proto__", true]]);
    expect(Object.getPrototypeOf(back)).toBe(Object.prototype);
  });

  it("is {} where there is none", () => {
    expect(fromStruct(null)).toEqual({});
    expect(fromStruct(undefined)).toEqual({});
  });

  it.each([
    [Number.NaN, "NaN"],
    [Number.POSITIVE_INFINITY, "Infinity"],
    [Number.NEGATIVE_INFINITY, "-Infinity"],
    [1e308, 1e308],
  ])("shows the number %d as %j", (numberValue, shown) => {
    expect(fromStruct({ fields: { a: { kind: "numberValue", numberValue } } })).toEqual({
      a: shown,
    });
  });

  it("shows null where a value has no kind, and nothing where a list has no values", () => {
    expect(fromStruct({ fields: { a: {}, b: { kind: "listValue", listValue: {} } } })).toEqual({
      a: null,
      b: [],
    });
  });

  it.each([
    ["objects", (value: Json): Json => ({ a: value })],
    ["lists", (value: Json): Json => [value]],
  ])("may nest 100 %s, and not more", (_, wrap) => {
    const deepest = nest(100, wrap);
    expect(fromStruct(received(toStruct(deepest)))).toEqual(deepest);
    const refusal = expect.objectContaining({ fault: "malformed" });
    expect(() => toStruct(nest(101, wrap))).toThrow(refusal);
    expect(() => toStruct(nest(100_000, wrap))).toThrow(refusal);
  });
});
