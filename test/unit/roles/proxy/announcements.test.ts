import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { silent } from "../../../../src/core/log.ts";
import { Announcements, PRIVATE, PUBLIC } from "../../../../src/roles/proxy/announcements.ts";
import { openFileStore } from "../../../../src/store/file.ts";
import type { Store } from "../../../../src/store/store.ts";

let folder: string;
let store: Store;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "announcements-"));
  store = await openFileStore({ filename: join(folder, "log") }, { log: silent });
});
afterEach(async () => {
  vi.useRealTimers();
  await store[Symbol.asyncDispose]();
  await rm(folder, { recursive: true });
});

const NOW = new Date("2026-11-21T12:00:00Z");
const at = (iso: string) => vi.useFakeTimers({ now: new Date(iso), toFake: ["Date"] });
const open = (kind: typeof PUBLIC | typeof PRIVATE = PUBLIC) =>
  Announcements.open(kind, store, { log: silent });
const reopened = async (kind: typeof PUBLIC | typeof PRIVATE = PUBLIC) => {
  await store[Symbol.asyncDispose]();
  store = await openFileStore({ filename: join(folder, "log") }, { log: silent });
  return await open(kind);
};
const wish = (domain: string, party: string, expires_at: string | null = null) => ({
  domain,
  party,
  expires_at,
});

describe("the announcements of a public proxy", () => {
  it("give a domain to whoever announced it, whatever its case [p2p 6]", async () => {
    const announcements = await open();
    expect(await announcements.announce(wish("A.Example.local", "q"))).toBe(true);
    expect(announcements.find("a.example.LOCAL")).toEqual(wish("A.Example.local", "q"));
    expect(await announcements.announce(wish("a.example.local", "q"))).toBe(true);
    expect(announcements.list()).toEqual([wish("a.example.local", "q")]);
    expect(announcements.find("example.local")).toBeUndefined();
  });

  it("refuse a domain that somebody else has, until that announcement has expired", async () => {
    at(NOW.toISOString());
    const announcements = await open();
    await announcements.announce(wish("a.local", "q", "2026-11-21T13:00:00Z"));
    await expect(announcements.announce(wish("a.local", "r"))).rejects.toMatchObject({
      fault: "conflict",
      message: "already taken",
    });
    at("2026-11-21T13:00:01Z");
    expect(announcements.find("a.local")).toBeUndefined();
    expect(await announcements.announce(wish("a.local", "r"))).toBe(true);
    expect((await reopened()).list()).toEqual([wish("a.local", "r")]);
  });

  it("survive a restart, with the latest expiry, and write nothing when nothing is new", async () => {
    const announcements = await open();
    expect(await announcements.announce(wish("a.local", "q"))).toBe(true);
    expect(await announcements.announce(wish("a.local", "q"))).toBe(false);
    const later = wish("a.local", "q", new Date(Date.now() + 3_600_000).toISOString());
    expect(await announcements.announce(later)).toBe(true);
    expect((await reopened()).list()).toEqual([later]);
    expect(await store.read()).toEqual([]);
  });

  it("are taken back by a time that has passed", async () => {
    const announcements = await open();
    await announcements.announce(wish("a.local", "q"));
    expect(await announcements.announce(wish("a.local", "q", "2020-01-01T00:00:00Z"))).toBe(true);
    expect(announcements.list()).toEqual([]);
    expect((await reopened()).list()).toEqual([]);
  });

  it("give a domain to one of two who ask at the same time", async () => {
    const announcements = await open();
    const asked = ["q", "r"].map((party) => announcements.announce(wish("a.local", party)));
    const results = await Promise.allSettled(asked);
    expect(results.map(({ status }) => status).sort()).toEqual(["fulfilled", "rejected"]);
  });

  it("are written as the original writes them [stores 1]", async () => {
    const announcements = await open();
    await announcements.announce(wish("test.internal-server.local", "private-proxy-1.ga"));
    await reopened().catch(() => {});
    await store[Symbol.asyncDispose]();
    store = await openFileStore({ filename: join(folder, "log") }, { log: silent });
    const [entry] = await store.read();
    expect(entry?.type).toBe(1);
    expect(entry?.data.toString()).toBe(
      '{"expires_at":null,"operator":"private-proxy-1.ga","domain":"test.internal-server.local"}',
    );
  });
});

describe("the announcements of a private proxy", () => {
  it("may be for the same domain at several proxies", async () => {
    const announcements = await open(PRIVATE);
    await announcements.announce(wish("a.local", "p1"));
    await announcements.announce(wish("a.local", "p2"));
    expect((await reopened(PRIVATE)).list()).toEqual([
      wish("a.local", "p1"),
      wish("a.local", "p2"),
    ]);
  });

  it("refuse a store that another role writes to", async () => {
    await (await open(PUBLIC)).announce(wish("a.local", "q"));
    await expect(reopened(PRIVATE)).rejects.toMatchObject({ fault: "settings" });
  });
});
