import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { canonicalTime, instant, now } from "../../../src/wire/timestamp.ts";

const two = (number: number): string => String(number).padStart(2, "0");
const moment = fc.date({
  min: new Date("0000-01-01T00:00:00Z"),
  max: new Date("9999-12-31T23:59:59Z"),
  noInvalidDate: true,
});
const fraction = fc.stringMatching(/^(\.\d{1,9})?$/);
const offset = fc.oneof(
  fc.constant("Z"),
  fc
    .tuple(fc.constantFrom("+", "-"), fc.nat(23), fc.nat(59))
    .map(([sign, hours, minutes]) => `${sign}${two(hours)}:${two(minutes)}`),
);
const time = fc
  .tuple(moment, fraction, offset)
  .map(([date, part, zone]) => `${date.toISOString().slice(0, 19)}${part}${zone}`);

describe("a canonical time", () => {
  it.each([
    ["2021-05-17T10:00:00Z", "2021-05-17T10:00:00Z"],
    ["2021-05-17T12:00:00.120+02:00", "2021-05-17T12:00:00.12+02:00"],
    ["2021-05-17T12:00:00.000+00:00", "2021-05-17T12:00:00Z"],
    ["2021-05-17T12:00:00-00:00", "2021-05-17T12:00:00Z"],
    ["2021-05-17T12:00:00.123456789-07:00", "2021-05-17T12:00:00.123456789-07:00"],
    ["2024-02-29T23:59:59.000000001Z", "2024-02-29T23:59:59.000000001Z"],
    ["0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"],
  ])("of %s is %s", (text, canonical) => {
    expect(canonicalTime(text)).toBe(canonical);
  });

  it.each([
    "",
    "now",
    "2021-05-17",
    "2021-05-17 10:00:00Z",
    "2021-05-17T10:00:00",
    "2021-05-17t10:00:00z",
    "2021-02-29T10:00:00Z",
    "2021-02-30T10:00:00Z",
    "2021-13-01T10:00:00Z",
    "2021-05-17T24:00:00Z",
    "2021-05-17T10:00:60Z",
    "2021-05-17T10:00:00.Z",
    "2021-05-17T10:00:00.1234567890Z",
    "2021-05-17T10:00:00+24:00",
    "2021-05-17T10:00:00+02:60",
    "+02021-05-17T10:00:00Z",
    "2021-05-17T10:00:00Z\n",
  ])("does not exist for %j", (text) => {
    expect(canonicalTime(text)).toBeUndefined();
  });

  it("is its own canonical form, and the same instant", () =>
    fc.assert(
      fc.property(time, (text) => {
        const canonical = canonicalTime(text) ?? "";
        expect(canonicalTime(canonical)).toBe(canonical);
        expect(instant(canonical)).toBe(instant(text));
        expect(canonical).not.toMatch(/\.\d*0(?!\d)|\.Z|[+-]00:00/);
      }),
    ));

  it("tells instants apart that Date cannot, across offsets", () => {
    const earlier = "2021-05-17T12:00:00.000000001+02:00";
    const later = "2021-05-17T10:00:00.000000002Z";
    expect(instant(later) - instant(earlier)).toBe(1n);
    expect(instant("1969-12-31T23:59:59.5Z")).toBe(-500_000_000n);
  });
});

describe("now", () => {
  it("is canonical, and about now", () => {
    const text = now();
    expect(canonicalTime(text)).toBe(text);
    expect(Math.abs(Date.parse(text) - Date.now())).toBeLessThan(5_000);
  });

  it("is always later than what came before, even if that is in the future", () => {
    let text = "2999-12-31T23:59:59.999999+14:00";
    for (let i = 0; i < 1_000; i++) {
      const next = now(text);
      expect(instant(next)).toBeGreaterThan(instant(text));
      text = next;
    }
  });
});
