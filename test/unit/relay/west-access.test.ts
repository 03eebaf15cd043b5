import { describe, expect, it } from "vitest";
import { isListed, mayFetch, proves } from "../../../src/relay/west/access.ts";

const to = (address: string, port = 80, host = address) => ({ host, port, address });

describe("a stranger in a tunnel", () => {
  it.each([
    ["127.0.0.1", { loopback: true, private: true, public: true }],
    ["::ffff:127.0.0.1", { loopback: true, private: true, public: true }],
    ["10.1.2.3", { loopback: false, private: true, public: true }],
    ["fd00::1", { loopback: false, private: true, public: true }],
    ["8.8.8.8", { loopback: false, private: false, public: true }],
    ["2001:db8::1", { loopback: false, private: false, public: true }],
  ])("from %s gets no further in than he is", (from, { loopback, ...other }) => {
    const may = (address: string) => mayFetch({ listed: undefined, from }, to(address));
    for (const address of ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "::ffff:7f00:1"])
      expect(may(address), address).toBe(loopback);
    for (const address of [
      "10.0.0.1",
      "172.31.0.1",
      "192.168.0.1",
      "100.64.0.1",
      "fd12::1",
      "::ffff:10.0.0.1",
    ])
      expect(may(address), address).toBe(other.private);
    for (const address of ["1.1.1.1", "172.32.0.1", "2606:4700::1"])
      expect(may(address), address).toBe(other.public);
  });

  it("who proved his name may ask for everything, unless there is a list", () => {
    expect(mayFetch({ listed: undefined, from: undefined }, to("127.0.0.1"))).toBe(true);
    expect(mayFetch({ listed: [], from: undefined }, to("127.0.0.1"))).toBe(false);
  });

  it.each([
    ["*", true],
    ["10.0.0.0/8", true],
    ["10.0.0.5", true],
    ["10.0.0.5:8080", true],
    ["10.0.0.5:80", false],
    ["inner.example", true],
    ["INNER.example:8080", true],
    ["inner.example:80", false],
    ["other.example", false],
    ["10.0.0.0/32", false],
  ])("may ask for what %s names: %s", (entry, may) => {
    const target = to("10.0.0.5", 8080, "inner.example");
    expect(mayFetch({ listed: [entry], from: "8.8.8.8" }, target)).toBe(may);
  });
});

describe("a list of clients", () => {
  const leaf = { names: ["l.example"], fingerprint: "ab".repeat(32) };
  it.each([
    [[], true],
    [["10.0.0.0/8"], true],
    [["10.0.0.0/32"], false],
    [["::ffff:10.0.0.1"], true],
    [["ws://*.example"], true],
    [["ws://*.example.org"], false],
    [["ws://l*"], true],
    [[`sha256:${"AB".repeat(32)}`], true],
    [[`sha256:${"ac".repeat(32)}`], false],
    [["192.168.0.1", "ws://l.example"], true],
  ])("%j admits: %s", (ca, admits) => {
    expect(isListed(ca, { address: "::ffff:10.0.0.1", name: "ws://l.example", leaf })).toBe(admits);
  });

  it("takes dots for dots", () => {
    expect(isListed(["ws://a.b"], { address: "1.1.1.1", name: "ws://axb" })).toBe(false);
  });
});

describe("a name", () => {
  const leaf = { names: ["l.example"], fingerprint: "" };
  it("is proved by its token or by a certificate of its host, and by nothing else", () => {
    const none = { leaf: undefined, token: undefined };
    expect(proves("ws://l.example:99/x", { ...none, leaf }, undefined)).toBe(true);
    expect(proves("ws://m.example", { ...none, leaf }, undefined)).toBe(false);
    expect(proves("ws://m.example", { ...none, token: "t" }, "t")).toBe(true);
    expect(proves("ws://m.example", { ...none, token: "u" }, "t")).toBe(false);
    expect(proves("ws://m.example", { ...none, token: "t" }, undefined)).toBe(false);
    expect(proves("", none, undefined)).toBe(false);
  });
});
