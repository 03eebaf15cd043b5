import { describe, expect, it } from "vitest";
import { Holdings, sourceOf } from "../../../src/net/source.ts";

describe("the source of a connection", () => {
  it.each([
    ["192.0.2.1", "192.0.2.1"],
    ["::ffff:192.0.2.1", "192.0.2.1"],
    ["::FFFF:192.0.2.1", "192.0.2.1"],
    ["2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"],
    ["2001:db8:1:2::1", "2001:db8:1:2::/64"],
    ["2001:db8::1", "2001:db8:0:0::/64"],
    ["::1", "0:0:0:0::/64"],
    ["fe80::1%eth0", "fe80:0:0:0::/64"],
    ["2001::1:2:3:4:5", "2001:0:0:1::/64"],
    ["64:ff9b::192.0.2.1", "64:ff9b:0:0::/64"],
    ["2001:db8::1:2:3:4:5", "2001:db8:0:1::/64"],
    [undefined, "unknown"],
    ["", "unknown"],
  ])("of %s is %s", (address, source) => {
    expect(sourceOf(address)).toBe(source);
  });

  it("is one for a whole /64, and another for the next", () => {
    expect(sourceOf("2001:db8:1:2::1")).toBe(sourceOf("2001:db8:1:2:ffff:ffff:ffff:ffff"));
    expect(sourceOf("2001:db8:1:2::1")).not.toBe(sourceOf("2001:db8:1:3::1"));
  });
});

describe("holdings", () => {
  it("give each source its share, and take back what it releases", () => {
    const holdings = new Holdings(2);
    expect([holdings.take("a"), holdings.take("a"), holdings.take("a")]).toEqual([
      true,
      true,
      false,
    ]);
    expect(holdings.take("b")).toBe(true);
    holdings.release("a");
    expect(holdings.take("a")).toBe(true);
    expect(holdings.take("a")).toBe(false);
  });

  it("are not raised by one release too many", () => {
    const holdings = new Holdings(1);
    holdings.release("a");
    expect(holdings.take("a")).toBe(true);
    expect(holdings.take("a")).toBe(false);
  });
});
