import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { formatEndpoint, parseEndpoint } from "../../../src/wire/endpoint.ts";

describe("an endpoint", () => {
  it.each([
    ["localhost:4444", { host: "localhost", port: 4444 }],
    ["127.0.0.1:0", { host: "127.0.0.1", port: 0 }],
    [":80", { host: "", port: 80 }],
    ["[::1]:65535", { host: "::1", port: 65_535 }],
    ["[fe80::1%eth0]:1", { host: "fe80::1%eth0", port: 1 }],
  ])("is read from %s", (text, endpoint) => {
    expect(parseEndpoint(text)).toEqual(endpoint);
  });

  it.each(["", "localhost", "localhost:", "localhost:x", "::1:80", "[]:80", "[::1]", "a:65536"])(
    "is not read from %j",
    (text) => {
      expect(() => parseEndpoint(text)).toThrow(expect.objectContaining({ fault: "malformed" }));
    },
  );

  it("stays what it is when it is written and read", () => {
    const host = fc.oneof(fc.ipV4(), fc.ipV6(), fc.domain());
    fc.assert(
      fc.property(host, fc.nat(65_535), (host, port) => {
        expect(parseEndpoint(formatEndpoint({ host, port }))).toEqual({ host, port });
      }),
    );
  });

  it("quotes no more of a stranger's text than fits a line", () => {
    expect(() => parseEndpoint("x".repeat(10_000))).toThrow(
      expect.objectContaining({ message: expect.stringMatching(/^.{300,330}$/) }),
    );
  });
});
