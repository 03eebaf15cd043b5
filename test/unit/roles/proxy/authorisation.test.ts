import { describe, expect, it } from "vitest";
import { mayAnnounce } from "../../../../src/roles/proxy/authorisation.ts";
import { Client } from "../../../../src/roles/proxy/client.ts";

const client = (...settings: object[]): Client =>
  Client.parse({ name: "hd-1", entry: { name: "hd-1", channels: [], settings } });
const allowing = (...allowed_domains: unknown[]) =>
  client({ operator: "", service: "proxy", environment: "", settings: { allowed_domains } });

describe("an operator", () => {
  it.each([
    [".example.com", "a.example.com"],
    [".example.com", "a.b.example.com"],
    [".example.com", "A.Example.COM"],
    ["example.com", "example.com"],
  ])("that is allowed %s may announce %s [p2p 6]", (allowed, domain) => {
    expect(() => mayAnnounce(allowing(allowed), domain, "private-proxy-1")).not.toThrow();
  });

  it.each([
    [".example.com", "evil-example.com"],
    [".example.com", "example.com"],
    [".example.com", "example.com.evil.org"],
    ["example.com", "evil-example.com"],
    ["example.com", "a.example.com"],
  ])("that is allowed %s may not announce %s, and is told what it may", (allowed, domain) => {
    expect(() => mayAnnounce(allowing(allowed), domain, "private-proxy-1")).toThrow(
      expect.objectContaining({
        fault: "forbidden",
        message: "not allowed to forward this domain",
        detail: {
          allowed_domains: [allowed],
          reason: expect.stringContaining(`none of these covers ${domain}`),
        },
      }),
    );
  });

  it("without settings for this proxy may announce nothing", () => {
    const section = { service: "proxy", settings: { allowed_domains: [".x"] } };
    const elsewhere = client({ ...section, operator: "another-proxy" });
    for (const nobody of [client(), elsewhere, client({ ...section, service: "mail" })]) {
      expect(() => mayAnnounce(nobody, "a.x", "private-proxy-1")).toThrow("not authorized");
    }
    const here = client({ ...section, operator: "private-proxy-1" });
    expect(() => mayAnnounce(here, "a.x", "private-proxy-1")).not.toThrow();
  });

  it.each([[["*.x"]], [[7]], ["x"]])(
    "whose settings say %j has settings to be mended",
    (allowed) => {
      const broken = client({ service: "proxy", settings: { allowed_domains: allowed } });
      expect(() => mayAnnounce(broken, "a.x", "p")).toThrow("invalid directory settings");
    },
  );
});
