import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";

/**
 * What the tests here and elsewhere defend against, by the numbers in their titles.
 */
const THREATS = {
  T1: "guessing tokens",
  T2: "stealing a token on the wire",
  T3: "using a token twice, in a race",
  T4: "bringing the wrong two together",
  T5: "legs that come late, early, twice or in another order",
  T6: "expired tokens that live again after a restart or a step of the clock",
  T7: "being slow for ever",
  T8: "filling the memory with those who wait",
  T9: "taking what belongs to others",
  T14: "dialling what a stranger asked for",
  T15: "domains that only look alike",
  T16: "ClientHellos in pieces, large, bent, or none at all",
  T17: "certificates of somebody else",
  T18: "directories that are forged or rolled back",
  T22: "secrets in logs, metrics, errors and arguments",
  T23: "strangers who choose labels or fill logs",
  T24: "JSON-RPC that is huge, deep, doubled or bent",
  T25: "HTTP/2 that asks for work without end",
};

const texts = readdirSync("test", { recursive: true, encoding: "utf8" })
  .filter((file) => file.endsWith(".test.ts"))
  .map((file) => readFileSync(join("test", file), "utf8"));

it.each(Object.entries(THREATS))("%s, %s, is in the title of a test", (threat) => {
  const titled = new RegExp(
    `^ *(?:it|describe|\\]\\)|\\}\\)|\\))[^\\n]*\\([^()]*\\b${threat}\\b[^()]*\\)"`,
    "m",
  );
  expect(texts.some((text) => titled.test(text))).toBe(true);
});
