import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { formatAddress, isCallId, parseAddress, parseMethod } from "../../../src/wire/address.ts";

const line = fc.string({ unit: "grapheme" }).filter((text) => !/[\n\r\u2028\u2029]/.test(text));
const operator = fc.oneof(line, fc.constantFrom("hd-2", "public-proxy-1.ga", "a.b.c", "", "x(1)"));
const method = line.filter((text) => text !== "" && !/[(.]/.test(text));
const call = fc
  .oneof(fc.string({ minLength: 1 }), fc.constantFrom("n:-3", "(x", ".(x", "a.b", "(.a"))
  .filter(isCallId);

describe("an address", () => {
  it.each([
    ["hd-2._ping(1)", { operator: "hd-2", method: "_ping", call: "1" }],
    [
      "public-proxy-1.ga.requestConnection(0a1b)",
      { operator: "public-proxy-1.ga", method: "requestConnection", call: "0a1b" },
    ],
    ["hd-2.add(n:-3)", { operator: "hd-2", method: "add", call: "n:-3" }],
    ["a.b((x)", { operator: "a", method: "b", call: "(x" }],
    [".m(1)", { operator: "", method: "m", call: "1" }],
  ])("is read from %s", (id, address) => {
    expect(parseAddress(id)).toEqual(address);
  });

  it("stays what it is when it is written and read", () => {
    fc.assert(
      fc.property(fc.record({ operator, method, call }), (address) => {
        expect(parseAddress(formatAddress(address))).toEqual(address);
      }),
    );
  });

  it.each([
    "",
    "hd-2",
    "hd-2._ping",
    "_ping(1)",
    "hd-2._ping()",
    "hd-2._ping(1",
    "hd-2._ping(1) ",
    "hd-2._ping(1)2)",
    "hd-2.(1)",
    "hd-2._ping 1)",
    "hd\n2._ping(1)",
  ])("is not read from %j", (id) => {
    expect(() => parseAddress(id)).toThrow(
      expect.objectContaining({
        fault: "malformed",
        message: "error parsing address: invalid ID format",
      }),
    );
  });

  it("is read as the original's regular expression reads it [addressing 1]", () => {
    const pieces = fc.array(fc.constantFrom(".", "(", ")", "\n", "a", "b"), { maxLength: 14 });
    const almost = pieces.map((parts) => `${parts.join("")})`);
    fc.assert(
      fc.property(almost, (id) => {
        const [, operator, method, call] = /^([^\n]*)\.([^(.]+)\(([^)]+)\)$/.exec(id) ?? [];
        let read: unknown;
        try {
          read = parseAddress(id);
        } catch {}
        expect(read).toEqual(method === undefined ? undefined : { operator, method, call });
      }),
      { numRuns: 5_000 },
    );
  });

  it("is refused without trying for minutes, however long the text", () => {
    for (const piece of [".(", ".a(", "(", ".", ")", ".a()"]) {
      expect(() => parseAddress(piece.repeat(350_000))).toThrow("invalid ID format");
    }
  });
});

describe("a method with its operator", () => {
  it.each([
    ["hd-2._ping", { operator: "hd-2", method: "_ping" }],
    ["public-proxy-1.ga.add", { operator: "public-proxy-1.ga", method: "add" }],
    ["respond", undefined],
    ["", undefined],
    ["hd-2.", undefined],
    ["hd-2.a(b", undefined],
  ])("is split as in %j", (text, expected) => {
    expect(parseMethod(text)).toEqual(expected);
  });
});

describe("a call id", () => {
  it("may stand between the brackets exactly if it is read back from there [addressing 1]", () => {
    const tricky = fc.array(fc.constantFrom(".", "(", ")", "\n", "a"), { maxLength: 8 });
    const text = fc.oneof(
      fc.string(),
      tricky.map((parts) => parts.join("")),
    );
    fc.assert(
      fc.property(text, (text) => {
        const address = { operator: "o", method: "m", call: text };
        let read: unknown;
        try {
          read = parseAddress(formatAddress(address));
        } catch {}
        if (isCallId(text)) expect(read).toEqual(address);
        else if (!text.includes("\n")) expect(read).not.toEqual(address);
      }),
      { numRuns: 3_000 },
    );
  });
});
