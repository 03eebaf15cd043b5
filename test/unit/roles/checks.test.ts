import { X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { leafOf } from "../../../src/net/tls.ts";
import { addChecks } from "../../../src/roles/eps/checks.ts";
import { Readiness } from "../../../src/rpc/readiness.ts";
import { Authority } from "../../support/certificates.ts";
import { grpcServer, MemoryDirectory, operator } from "../../support/directory.ts";

describe("an endpoint that is asked whether it is ready", () => {
  let authority: Authority;
  let file = "";
  let pinned: { fingerprint: string; key_usage: string };
  beforeAll(async () => {
    authority = await Authority.open();
    file = (await authority.issue("hd-2")).certificate_file ?? "";
    const leaf = leafOf(new X509Certificate(await readFile(file)).toLegacyObject());
    pinned = { fingerprint: leaf?.fingerprint ?? "", key_usage: "encryption" };
  });
  afterAll(async () => {
    vi.useRealTimers();
    await authority[Symbol.asyncDispose]();
  });

  const streams = { open: new Set<string>(), isOpen: (name: string) => streams.open.has(name) };
  beforeEach(() => streams.open.clear());

  async function why(directory: MemoryDirectory): Promise<Record<string, string | undefined>> {
    const readiness = new Readiness(new AbortController().signal);
    readiness.opened();
    addChecks(readiness, { self: "hd-2", directory, certificates: [file], streams });
    const { checks } = await readiness.report();
    const failed = Object.entries(checks).filter(([, { ok }]) => !ok);
    return Object.fromEntries(failed.map(([name, check]) => [name, check.why]));
  }

  it("is when the directory knows it and pins its certificate", async () => {
    const entry = operator("hd-2", { certificates: [pinned] });
    expect(await why(new MemoryDirectory(entry))).toEqual({});
  });

  it("is not without a directory, or without an entry of its own", async () => {
    expect(await why(new MemoryDirectory())).toMatchObject({
      directory: "the directory has not been read yet, or it is empty",
      certificates: expect.stringContaining(`pins no certificate ${pinned.fingerprint} for hd-2`),
    });
    expect(await why(new MemoryDirectory(operator("hd-1")))).toMatchObject({
      directory: "the directory has no entry for hd-2",
    });
  });

  it("is not with a certificate that is pinned for signing only", async () => {
    const entry = operator("hd-2", { certificates: [{ ...pinned, key_usage: "signing" }] });
    expect(Object.keys(await why(new MemoryDirectory(entry)))).toEqual(["certificates"]);
  });

  it("is not with a certificate that has expired, or is not valid yet", async () => {
    const directory = new MemoryDirectory(operator("hd-2", { certificates: [pinned] }));
    const at = async (years: number) => {
      vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + years * 366 * 86_400_000 });
      return await why(directory).finally(() => vi.useRealTimers());
    };
    expect(await at(20)).toEqual({ certificates: expect.stringContaining("expired on") });
    expect(await at(-20)).toEqual({ certificates: expect.stringContaining("not valid until") });
  });

  it("is not while its proxy has no way to it, where there is no other", async () => {
    const route = { address: "localhost:8889", proxy: "public-proxy-1.ga" };
    const channels = [grpcServer(route)];
    const directory = new MemoryDirectory(operator("hd-2", { certificates: [pinned], channels }));
    expect(await why(directory)).toEqual({
      reachable: expect.stringContaining("no reverse stream to it is open"),
    });
    streams.open.add("public-proxy-1.ga");
    expect(await why(directory)).toEqual({});
  });
});
