import { once } from "node:events";
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { silent } from "../../src/core/log.ts";
import { openStore } from "../../src/store/open.ts";
import type { DatastoreSettings } from "../../src/store/settings.ts";
import { appendForever } from "../support/append-forever.ts";
import { type Disk, describeWithDisks, mountDisk } from "../support/disk.ts";
import { entry, texts } from "../support/redis.ts";
import { stores } from "../support/stores.ts";
import { describeWith } from "../support/tools.ts";

const open = (settings: DatastoreSettings) => openStore(settings, { log: silent });
const contents = async (settings: DatastoreSettings): Promise<string[]> => {
  await using store = await open(settings);
  return texts(await store.read());
};

/** Runs a process that appends, and notes what it was told; `said` is called after each of its lines. */
async function appending(
  settings: DatastoreSettings,
  options: Parameters<typeof appendForever>[1],
  said: (lines: number, kill: () => void) => void = () => {},
): Promise<{ stored: number[]; failed: string[] }> {
  const { child, lines } = appendForever(settings, options);
  const exited = once(child, "exit");
  const stored: number[] = [];
  const failed: string[] = [];
  let count = 0;
  // Lines that were written before a kill still arrive, and count.
  for await (const line of lines) {
    if (line.startsWith("stored ")) stored.push(Number(line.slice("stored ".length)));
    if (/^(failed|refused) /.test(line)) failed.push(line);
    count += 1;
    said(count, () => child.kill("SIGKILL"));
  }
  await exited; // it said its last word a moment before that, and had the lock still
  return { stored, failed };
}

/** What was acknowledged is there, and whatever is there is a whole batch. */
function check(found: string[], acknowledged: number[], unacknowledged_max: number): void {
  const batches = new Map<number, { size: number; indexes: number[] }>();
  for (const text of found) {
    const [batch = 0, index = 0, size = 0] = (text.split(" ")[0] ?? "").split("/").map(Number);
    const seen = batches.get(batch) ?? { size, indexes: [] };
    seen.indexes.push(index);
    batches.set(batch, seen);
  }
  for (const { size, indexes } of batches.values()) {
    expect(indexes).toEqual(Array.from({ length: size }, (_, i) => i));
  }
  for (const batch of acknowledged) expect(batches.has(batch), `batch ${batch}`).toBe(true);
  expect(batches.size).toBeLessThanOrEqual(acknowledged.length + unacknowledged_max);
}

for (const { name, needs, place } of stores.filter(({ lasts }) => lasts)) {
  describeWith(needs, `a process that appends to the ${name} store`, () => {
    it("can be killed at any time without losing what it acknowledged", async () => {
      const { settings, clear } = await place();
      try {
        const acknowledged: number[] = [];
        for (let round = 0; round < 6; round += 1) {
          const told = await appending(settings, {}, (lines, kill) => {
            if (lines === 5 + round * 23) kill();
          });
          expect(told.failed).toEqual([]);
          acknowledged.push(...told.stored);
          check(await contents(settings), acknowledged, round + 1);
        }
        expect(acknowledged.length).toBeGreaterThan(100);
      } finally {
        await clear();
      }
    });
  });
}

describe("a file that may not grow any further", () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "store-"));
  });
  afterEach(() => rm(folder, { recursive: true }));

  it("keeps nothing of a batch for which there is no room, and takes a smaller one", async () => {
    const settings = { type: "file", settings: { filename: join(folder, "entries") } } as const;
    const { stored, failed } = await appending(settings, { limit_kib: 23, batches_max: 60 });
    expect(failed.length).toBeGreaterThan(3);
    expect(failed[0]).toMatch(/nothing was stored: .*ulimit -f/);
    // Something small still fitted in after the first batch that did not.
    expect(Math.max(...stored)).toBeGreaterThan(Number(failed[0]?.split(" ")[1]));
    check(await contents(settings), stored, 0);
    expect(await readdir(folder)).toEqual(["entries"]);
  });
});

describeWithDisks("a disk", () => {
  let disk: Disk;
  let filename: string;
  let settings: DatastoreSettings;
  beforeEach(() => {
    disk = mountDisk("64k");
    filename = join(disk.folder, "entries");
    settings = { type: "file", settings: { filename } };
  });
  afterEach(() => disk.clear());

  /** Leaves no room, not for a byte. */
  const fill = (): Promise<void> =>
    writeFile(join(disk.folder, "filling"), Buffer.alloc(1_000_000)).catch(() => {});
  const empty = () => rm(join(disk.folder, "filling"));

  it("that is full keeps nothing of a batch, loses nothing, and says what to do", async () => {
    const { stored, failed } = await appending(settings, { batches_max: 120 });
    expect(stored.length).toBeGreaterThan(20);
    expect(failed.length).toBeGreaterThan(3);
    expect(failed[0]).toMatch(/nothing was stored: the disk is full; free some space/);
    await expect(open(settings)).rejects.toThrow(/cannot be opened: .*the disk is full; free some/);
    disk.grow("128k");
    check(await contents(settings), stored, 0);
    expect(await readdir(disk.folder)).toEqual(["entries"]);
  });

  it("that was full takes more as soon as there is room", async () => {
    const store = await open(settings);
    await store.append([entry("a"), entry("b")]);
    await fill();
    const large = "x".repeat(8_000);
    await expect(store.append([entry(large)])).rejects.toThrow("the disk is full");
    await expect(store.append([entry(large), entry(large)])).rejects.toThrow("the disk is full");
    await empty();
    await store.append([entry("c"), entry("d")]);
    await store[Symbol.asyncDispose]();
    expect(await contents(settings)).toEqual(["a", "b", "c", "d"]);
  });

  it("that is full cuts nothing away that it has no room to keep", async () => {
    {
      await using store = await open(settings);
      await store.append([entry("whole")]);
      await store.append([entry(`torn ${"x".repeat(9_000)}`)]);
    }
    const torn = (await readFile(filename)).subarray(0, -1);
    await writeFile(filename, torn);
    await fill();
    for (let attempt = 0; attempt < 3; attempt += 1) {
      await expect(open(settings)).rejects.toThrow(/cannot be opened: .*the disk is full/);
    }
    expect((await readFile(filename)).equals(torn)).toBe(true);
    expect((await readdir(disk.folder)).filter((each) => each.includes("torn"))).toEqual([]);

    await empty();
    expect(await contents(settings)).toEqual(["whole"]);
    const copies = (await readdir(disk.folder)).filter((each) => each.includes("torn"));
    const [copy = ""] = copies;
    const kept = (await stat(filename)).size;
    expect(copies).toHaveLength(1);
    expect((await readFile(join(disk.folder, copy))).equals(torn.subarray(kept))).toBe(true);
  });

  it("that is read-only is told when the store is opened, and nothing is changed", async () => {
    {
      await using store = await open(settings);
      await store.append([entry("a")]);
    }
    const before = await readFile(filename);
    disk.readOnly();
    const opening = open(settings);
    await expect(opening).rejects.toMatchObject({ fault: "settings" });
    await expect(opening).rejects.toThrow(/EROFS.*the disk is read-only/);
    expect(await readFile(filename)).toEqual(before);
    expect(await readdir(disk.folder)).toEqual(["entries"]);
  });
});
