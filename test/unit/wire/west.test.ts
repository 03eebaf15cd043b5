import { describe, expect, it } from "vitest";
import { decodeWest, encodeWest, isWestName } from "../../../src/wire/west.ts";

// As an original sent it (seed-systems 1.5).
const GOLDEN =
  "TransactionOrigin: ws://g.case2.example\r\nTransactionID: 1e46589c-8ed8-427a-b3cb-c0ce947d25bd\r\nX-Proxy-Protocol: http\r\n\r\nGET /a HTTP/1.1\r\nhost: 127.0.0.1:9941\r\nx-mixed: AbC\r\naccept: */*\r\nuser-agent: curl/7.88.1\r\n\r\n";

describe("a message of west", () => {
  it("is read as the original wrote it, and written the same", () => {
    const message = decodeWest(Buffer.from(GOLDEN));
    expect(message).toMatchObject({
      origin: "ws://g.case2.example",
      id: "1e46589c-8ed8-427a-b3cb-c0ce947d25bd",
      start: { kind: "request", method: "GET", path: "/a" },
    });
    expect(message.fields[0]).toEqual(["host", "127.0.0.1:9941"]);
    expect(message.body).toHaveLength(0);
    expect(encodeWest(message).toString()).toBe(GOLDEN);
  });

  it("keeps every byte of a body, and repeated fields in order", () => {
    const body = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
    const message = {
      origin: "n",
      id: "1",
      start: { kind: "answer", status: 200, reason: "All Right" },
      fields: [
        ["set-cookie", "a"],
        ["x", "\xe9"],
        ["set-cookie", "b"],
      ],
      body: Buffer.concat([Buffer.from("\r\n\r\n"), body]),
    } as const;
    expect(
      decodeWest(encodeWest({ ...message, fields: message.fields.map(([n, v]) => [n, v]) })),
    ).toEqual(message);
  });

  it("may have no field at all, and fields of an envelope that nobody knows", () => {
    const text = GOLDEN.replace("X-Proxy", "X-New: 1\r\nX-Proxy").replace(
      /host.*curl\/7\.88\.1\r\n/s,
      "",
    );
    expect(decodeWest(Buffer.from(text)).fields).toEqual([]);
  });

  it.each([
    ["ws://a.example", true],
    ["", false],
    ["a b", false],
    ["a\r\nb", false],
    ["x".repeat(256), false],
  ])("name %j: %s", (name, valid) => expect(isWestName(name)).toBe(valid));
});
