import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { callIdText } from "../../../src/wire/call-id.ts";

describe("the text of a call id", () => {
  it.each([
    [5, "n:5"],
    [-3, "n:-3"],
    [0, "n:0"],
    ["n:5", "nn:5"],
    ["nn:5", "nnnn:5"],
    ["n:-3", "nn:-3"],
    ["5", "5"],
    ["n:", "n:"],
    ["n:5x", "n:5x"],
    ["xn:5", "xn:5"],
    ["N:5", "N:5"],
    [`n:${"1".repeat(32)}`, `nn:${"1".repeat(32)}`],
    [`n:${"1".repeat(33)}`, `n:${"1".repeat(33)}`],
    ["", ""],
  ])("is for %j: %s [jsonrpc 1]", (id, text) => {
    expect(callIdText(id)).toBe(text);
  });

  it("is another for every other id", () => {
    const number = fc.maxSafeInteger();
    const looksLikeOne = fc
      .tuple(fc.integer({ min: 1, max: 6 }), fc.integer({ min: -9, max: 9 }))
      .map(([marks, digits]) => `${"n".repeat(marks)}:${digits}`);
    const id = fc.oneof(number, fc.integer({ min: -9, max: 9 }), looksLikeOne, fc.string());
    fc.assert(
      fc.property(id, id, (a, b) => {
        expect(callIdText(a) === callIdText(b)).toBe(Object.is(a, b) || a === b);
      }),
      { numRuns: 2_000 },
    );
  });
});
