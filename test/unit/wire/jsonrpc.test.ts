import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { formatResponse, parseRequest, parseResponse } from "../../../src/wire/jsonrpc.ts";

const request = (more: Record<string, unknown> = {}): Record<string, unknown> => ({
  jsonrpc: "2.0",
  method: "hd-2.add",
  params: { a: 1 },
  id: 1,
  ...more,
});

/** Objects in objects, made without recursion. */
function nested(levels: number): unknown {
  let value: unknown = 1;
  for (let level = 0; level < levels; level += 1) value = { a: value };
  return value;
}

describe("a JSON-RPC request", () => {
  it.each([
    [1, 1],
    [-3, -3],
    [Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER],
    ["x", "x"],
    ["x".repeat(1_024), "x".repeat(1_024)],
    ["", undefined],
    [null, undefined],
    [undefined, undefined],
  ])("has the id %j", (id, read) => {
    expect(parseRequest(request({ id }))).toEqual({
      id: read,
      method: "hd-2.add",
      params: { a: 1 },
    });
  });

  it.each([
    ["jsonrpc", { jsonrpc: undefined }],
    ["jsonrpc", { jsonrpc: 2 }],
    ["jsonrpc", { jsonrpc: "2.0," }],
    ["method", { method: undefined }],
    ["method", { method: 5 }],
    ["method", { method: "" }],
    ["method", { method: "x".repeat(101) }],
    ["method", { method: "ü".repeat(51) }],
    ["params", { params: undefined }],
    ["params", { params: null }],
    ["params", { params: [] }],
    ["params", { params: "x" }],
    ["params", { params: nested(102) }],
    ["params", { params: nested(200_000) }],
    ["id", { id: 1.5 }],
    ["id", { id: 2 ** 53 }],
    ["id", { id: true }],
    ["id", { id: {} }],
    ["id", { id: "x".repeat(1_025) }],
    ["id", { id: "ü".repeat(513) }],
  ])("is refused for its %s (%#)", (key, more) => {
    expect(() => parseRequest(request(more))).toThrow(
      expect.objectContaining({
        fault: "invalid_request",
        detail: expect.objectContaining({
          code: "FORM-ERROR",
          data: { [key]: expect.any(String) },
          traceback: [],
        }),
      }),
    );
  });

  it.each([
    { method: "x".repeat(100) },
    { method: "ü".repeat(50) },
    { params: {} },
    { params: nested(100) },
    { extra: "is ignored" },
  ])("is accepted at the edge of what is allowed (%#) [jsonrpc 2]", (more) => {
    expect(parseRequest(request(more)).id).toBe(1);
  });

  it("is refused with all its problems at once", () => {
    expect(() => parseRequest({ id: [] })).toThrow(
      expect.objectContaining({
        detail: expect.objectContaining({
          data: {
            jsonrpc: expect.any(String),
            method: expect.any(String),
            params: expect.any(String),
            id: expect.any(String),
          },
        }),
      }),
    );
  });

  it.each([[null], ["x"], [5], [true], [undefined], [[]], [[request()]]])(
    "is no request if it is %j",
    (body) => {
      expect(() => parseRequest(body)).toThrow(
        expect.objectContaining({
          fault: "unreadable",
          message: expect.stringMatching(Array.isArray(body) ? /batches/ : /^JSON required$/),
        }),
      );
    },
  );

  it("is read or refused with a fault, whatever it is", () => {
    const anything = fc.oneof(
      fc.jsonValue(),
      fc.record(
        {
          jsonrpc: fc.oneof(fc.constant("2.0"), fc.jsonValue()),
          method: fc.oneof(fc.string(), fc.jsonValue()),
          params: fc.oneof(fc.object(), fc.jsonValue()),
          id: fc.oneof(fc.string(), fc.integer(), fc.jsonValue()),
        },
        { requiredKeys: [] },
      ),
    );
    fc.assert(
      fc.property(anything, (body) => {
        try {
          expect(typeof parseRequest(body).method).toBe("string");
        } catch (reason) {
          expect(["unreadable", "invalid_request"]).toContain((reason as { fault: string }).fault);
        }
      }),
    );
  });
});

describe("a JSON-RPC response", () => {
  it("has its keys in the order of the original", () => {
    const result = formatResponse({ result: 1 }, "x");
    expect(JSON.stringify(result)).toBe('{"jsonrpc":"2.0","result":1,"id":"x"}');
    const error = formatResponse({ error: { code: 1, message: "m", data: {} } }, null);
    expect(JSON.stringify(error)).toBe(
      '{"jsonrpc":"2.0","error":{"code":1,"message":"m","data":{}},"id":null}',
    );
  });

  it.each([
    [{ result: { a: 1 } }, { result: { a: 1 } }],
    [{ result: null }, { result: null }],
    [{}, { result: null }],
    [{ jsonrpc: "2.0,", result: "x", error: null, id: 7 }, { result: "x" }],
    [{ error: { code: -1, message: "m" } }, { error: { code: -1, message: "m" } }],
    [{ error: { code: 1, message: "m", data: null } }, { error: { code: 1, message: "m" } }],
    [
      { result: 1, error: { code: 1, message: "m", data: { a: 1 } } },
      { error: { code: 1, message: "m", data: { a: 1 } } },
    ],
  ])("is read: %j", (body, answer) => {
    expect(parseResponse(body)).toEqual(answer);
  });

  it.each([null, [], "x", 5, { error: "no" }, { error: {} }, { error: { code: 1.5 } }])(
    "is no answer if it is %j",
    (body) => {
      expect(() => parseResponse(body)).toThrow(expect.objectContaining({ fault: "unreachable" }));
    },
  );
});
