import { describe, expect, it } from "vitest";
import * as z from "zod";
import {
  defaultsOf,
  defaultTo,
  endpoint,
  expressionOf,
  optional,
  pattern,
  seconds,
  text,
  webAddress,
  wholeNumber,
} from "../../../../src/core/settings/shapes.ts";

describe("an optional setting", () => {
  const schema = z.strictObject({ a: defaultTo(5, z.number()), b: optional(z.string()) });

  it.each([{}, { a: null, b: null }, { a: "", b: "" }])(
    "is as good as missing in %j [settings 1]",
    (settings) => {
      expect(schema.parse(settings)).toEqual({ a: 5 });
    },
  );

  it("keeps a value that merely looks empty", () => {
    expect(schema.parse({ a: 0 })).toEqual({ a: 0 });
    expect(z.strictObject({ a: defaultTo(true, z.boolean()) }).parse({ a: false })).toEqual({
      a: false,
    });
  });

  it("is still checked", () => {
    expect(schema.safeParse({ a: "6" }).success).toBe(false);
  });
});

it("a map of defaults may be left out or be given in part", () => {
  const schema = z.strictObject({
    limits: defaultsOf(
      z.strictObject({ a: defaultTo(1, z.number()), b: defaultTo(2, z.number()) }),
    ),
  });
  expect(schema.parse({})).toEqual({ limits: { a: 1, b: 2 } });
  expect(schema.parse({ limits: null })).toEqual({ limits: { a: 1, b: 2 } });
  expect(schema.parse({ limits: { b: 3 } })).toEqual({ limits: { a: 1, b: 3 } });
});

describe("an endpoint", () => {
  it.each([
    "localhost:4444",
    ":8888",
    "[::1]:80",
    "[::]:0",
    "[fe80::1%eth0]:1",
    "localhost:0",
    "10.0.0.1:65535",
    "a-b.example.org:443",
    "[::ffff:10.0.0.1]:1",
  ])("may be %s", (value) => {
    expect(endpoint.safeParse(value).success).toBe(true);
  });

  it.each([
    "localhost",
    "4444",
    "localhost:",
    "localhost:65536",
    "localhost:-1",
    "localhost:http",
    "::1:80",
    "[::1]",
    "[localhost]:80",
    "http://localhost:80",
    "local host:80",
    "localhost:80/",
    " localhost:80",
    "localhost:80\n",
    "",
    4444,
  ])("may not be %j", (value) => {
    expect(endpoint.safeParse(value).success).toBe(false);
  });
});

describe("numbers", () => {
  it.each([1, 10, 5.0])("%d is a whole number from 1 to 10", (value) => {
    expect(wholeNumber(1, 10).parse(value)).toBe(value);
  });
  it.each([0, 11, 1.5, "5", Number.NaN, null])("%j is none", (value) => {
    expect(wholeNumber(1, 10).safeParse(value).success).toBe(false);
  });
  it.each([0.5, 1, 60])("%d is a time from half a second to a minute", (value) => {
    expect(seconds(0.5, 60).parse(value)).toBe(value);
  });
  it.each([0.4, 60.1, Number.POSITIVE_INFINITY, "5", "5s"])("%j is none", (value) => {
    expect(seconds(0.5, 60).safeParse(value).success).toBe(false);
  });
});

it.each([
  ["(?i)^https://A\\.example$", "HTTPS://a.EXAMPLE", "https://b.example"],
  ["(?is)^a.b$", "A\nB", "ab"],
  ["(?m)^b$", "a\nb", "ab"],
  ["^a$", "a", "A"],
])("the pattern %s means what it means in RE2", (written, fits, other) => {
  expect(pattern.safeParse(written).success).toBe(true);
  expect(expressionOf(written).test(fits)).toBe(true);
  expect(expressionOf(written).test(other)).toBe(false);
});

it("texts, addresses and patterns are what they claim", () => {
  expect(text.safeParse("").success).toBe(false);
  expect(webAddress.safeParse("https://localhost:3322/jsonrpc").success).toBe(true);
  for (const wrong of ["localhost:3322", "ftp://a/", "http://", "http://a:99999"]) {
    expect(webAddress.safeParse(wrong).success, wrong).toBe(false);
  }
  expect(pattern.safeParse("^https://.*\\.example$").success).toBe(true);
  expect(pattern.safeParse("(").success).toBe(false);
  expect(pattern.safeParse("(?x)a").success).toBe(false);
});
