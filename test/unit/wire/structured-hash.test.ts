import { createHash } from "node:crypto";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { structuredHash } from "../../../src/wire/structured-hash.ts";

const hash = (value: unknown): string => structuredHash(value).toString("hex");
const sha256 = (bytes: Buffer | string): string => createHash("sha256").update(bytes).digest("hex");

// eps-protocol 8.4, confirmed with the original program.
const VECTORS: Array<[value: string, hash: string]> = [
  ['{"foo":"bar"}', "0b5fc2d446003559b3ac936910088919478f12199600457b3df53650fd69cb98"],
  ['"abc"', "dc62e19fceb003169ed88b2a93ff5d9c2918565bf3eb0baedf167050120df455"],
  ['["foo","bar"]', "be8758f9fbf2134678348992bee5696cc980dd4359d95fad4d134dabddd5d75e"],
  ["12", "b2daf6602eb8ca5d9d4c198f9e6cb10a7a3f94aa54813928db0506e4b9c05278"],
  ["-0.0", "2ad8c4617acf586c18d8ead31f67ecc757b7179af2eb15b5139ab4e031298278"],
  ["[[],[[]],{}]", "0b74ef0cd2e7f7cc8e411f4559cc114ad22cae211337496ccf0692b636684602"],
  [
    '{"a":[1,2.5,true,false,null,"x"],"b":{},"c":[],"d":"","e":{"z":0}}',
    "b739eb725291d035380611daad9b8f014ce9bf654248e1df022c7c99c595f885",
  ],
  [
    '{"ü":1,"z":2,"\\uffee":3,"😀":4}',
    "c1c38551201cd133ca614ee9cf466d112a0c48c94962ea821865d604880f0985",
  ],
];

const SEVENTH = `
  737472696e676d6170 737472696e676c697374 737472696e6730 737472696e67666c6f6174 000000000000f03f0000
  737472696e6731 737472696e67666c6f6174 00000000000004400000 737472696e6732 737472696e67626f6f6c
  02000000000000000000 737472696e6733 737472696e6734 737472696e6735 737472696e6778 737472696e6761
  737472696e676d6170 737472696e6762 737472696e676d6170 737472696e6765`;

describe("the structured hash", () => {
  it.each(VECTORS)("of %s is the original's [directory 1]", (value, expected) => {
    expect(hash(JSON.parse(value))).toBe(expected);
  });

  it("is the SHA-256 of the bytes written down in the specification", () => {
    expect(sha256("stringmapstringbarstringfoo")).toBe(hash({ foo: "bar" }));
    expect(sha256(Buffer.from(SEVENTH.replace(/\s/g, ""), "hex"))).toBe(VECTORS[6]?.[1]);
  });

  it("reads a lone surrogate as U+FFFD", () => {
    expect(hash({ a: "\ud800" })).toBe(hash({ a: "\ufffd" }));
  });

  it("sees an empty object, and a key that looks like a prototype", () => {
    expect(hash({ x: {} })).not.toBe(hash({}));
    expect(hash(JSON.parse('{"__proto__":{"a":1}}'))).not.toBe(hash({}));
  });

  it("refuses to nest without end", () => {
    let deep: unknown = "bottom";
    for (let i = 0; i < 10_000; i++) deep = [deep];
    expect(() => hash(deep)).toThrow(/nested deeper/);
  });

  const zero = fc.constantFrom(null, "", 0, false, [], undefined);
  const object = fc.dictionary(fc.string({ unit: "grapheme" }), fc.jsonValue());

  it("does not depend on the order of keys", () =>
    fc.assert(
      fc.property(object, (value) => {
        const turned = Object.fromEntries(Object.entries(value).reverse());
        expect(hash(turned)).toBe(hash(value));
      }),
    ));

  it("does not see keys that say nothing", () =>
    fc.assert(
      fc.property(object, fc.string(), zero, (value, key, nothing) => {
        fc.pre(!Object.hasOwn(value, key) && key !== "__proto__");
        expect(hash({ ...value, [key]: nothing })).toBe(hash({ ...value }));
      }),
    ));

  it("survives JSON text, but for minus zero", () =>
    fc.assert(
      fc.property(fc.jsonValue({ noUnicodeString: false }), (value) => {
        fc.pre(
          !JSON.stringify(value, (_, each) => (Object.is(each, -0) ? "-0" : each)).includes('"-0"'),
        );
        expect(hash(JSON.parse(JSON.stringify(value)))).toBe(hash(value));
      }),
    ));
});
