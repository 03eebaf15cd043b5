import { describe, expect, it } from "vitest";
import {
  decodeFrame,
  encodeData,
  encodeEnding,
  encodeWindow,
} from "../../../src/wire/west-streams.ts";

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(" ", ""), "hex");

describe("a frame of west", () => {
  it.each([
    ["00 00000002 616263", { kind: "data", stream: 2, bytes: Buffer.from("abc") }],
    ["00 ffffffff", { kind: "data", stream: 2 ** 32 - 1, bytes: Buffer.alloc(0) }],
    ["01 00000003", { kind: "end", stream: 3 }],
    ["02 01020304", { kind: "reset", stream: 0x01020304 }],
    ["03 00000000 00010000", { kind: "window", stream: 0, size: 65_536 }],
    ["03 00000007 ffffffff", { kind: "window", stream: 7, size: 2 ** 32 - 1 }],
  ])("%s is read", (bytes, frame) => {
    expect(decodeFrame(hex(bytes))).toEqual(frame);
  });

  it("is written as it is read", () => {
    const pieces = [Buffer.from("a"), Buffer.from("bc")];
    expect(encodeData(2, pieces)).toEqual(hex("00 00000002 616263"));
    expect(encodeEnding(3, "end")).toEqual(hex("01 00000003"));
    expect(encodeEnding(0x01020304, "reset")).toEqual(hex("02 01020304"));
    expect(encodeWindow(0, 65_536)).toEqual(hex("03 00000000 00010000"));
  });

  it.each([
    "",
    "00",
    "00 000000",
    "04 00000002",
    "ff 00000002",
    "00 00000000 61",
    "01 00000000",
    "01 00000002 00",
    "02 00000000",
    "02 00000002 00",
    "03 00000002",
    "03 00000002 000000",
    "03 00000002 0000000000",
  ])("'%s' is none", (bytes) => {
    expect(() => decodeFrame(hex(bytes))).toThrow(expect.objectContaining({ fault: "malformed" }));
  });
});
