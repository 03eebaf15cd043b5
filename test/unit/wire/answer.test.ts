import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { FAULTS, Fault } from "../../../src/core/fault.ts";
import { Declined, faultAnswer, unwrap, wrap } from "../../../src/wire/answer.ts";
import { isObject, type Json } from "../../../src/wire/json.ts";

describe("a result on its way through gRPC", () => {
  it.each([
    ["ok", { _: "ok" }],
    [5, { _: 5 }],
    [false, { _: false }],
    [null, { _: null }],
    [[1, 2], { _: [1, 2] }],
    [{ a: 1 }, { a: 1 }],
    [{}, {}],
    [
      { _: 1, a: 2 },
      { _: 1, a: 2 },
    ],
  ])("is wrapped: %j as %j [addressing 3]", (value, wrapped) => {
    expect(wrap(value as Json)).toEqual(wrapped);
    expect(unwrap(wrapped as Json)).toEqual(value);
  });

  it("comes out as it went in, unless it looks like a wrapping itself", () => {
    const value = fc.jsonValue().map((json) => json as Json);
    const ambiguous = (json: Json): boolean => isObject(json) && Object.keys(json).join() === "_";
    fc.assert(
      fc.property(value, (json) => {
        expect(isObject(wrap(json))).toBe(true);
        if (!ambiguous(json)) expect(unwrap(wrap(json))).toEqual(json);
      }),
    );
    expect(unwrap(wrap({ _: 1 }))).toBe(1); // as the original does (eps-protocol 4.6)
  });
});

describe("the answer that tells of a fault", () => {
  it.each(Object.keys(FAULTS) as Array<keyof typeof FAULTS>)("names it: %s", (name) => {
    const cause = new Error("secret");
    const fault = new Fault(name, "what happened", { cause, detail: { limit: 5 } });
    expect(faultAnswer(fault)).toEqual({
      error: {
        code: FAULTS[name].jsonrpc,
        message: "what happened",
        data: { limit: 5, fault: name },
      },
    });
    expect(JSON.stringify(faultAnswer(fault))).not.toContain("secret");
  });

  it("has another code where another is asked for", () => {
    expect(faultAnswer(new Fault("failed", "x"), -100)).toMatchObject({ error: { code: -100 } });
  });

  it("passes on what somebody else said, exactly", () => {
    const error = { code: 7, message: "their words", data: { a: [1] } };
    expect(faultAnswer(new Declined(error), -100)).toEqual({ error });
  });
});
