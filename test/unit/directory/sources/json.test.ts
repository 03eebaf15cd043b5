import { mkdir, mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { silent } from "../../../../src/core/log.ts";
import type { Directory } from "../../../../src/directory/directory.ts";
import { openJsonDirectory } from "../../../../src/directory/sources/json.ts";

const PATIENCE = { timeout: 10_000, interval: 20 };
const group = (name: string, ...data: string[]) => ({
  name,
  section: "groups",
  data,
  created_at: "2021-05-17T10:00:00Z",
});

describe("a directory on disk", () => {
  let folder = "";
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "directory-"));
  });
  afterEach(() => rm(folder, { recursive: true }));

  const write = async (file: string, ...records: unknown[]): Promise<void> => {
    const text = JSON.stringify({ records, comment: "dropped" });
    await writeFile(join(folder, `.${file}.new`), text);
    await rename(join(folder, `.${file}.new`), join(folder, file));
  };
  const open = (path = folder, log = silent): Promise<Directory> =>
    openJsonDirectory({ path }, { log });

  it("reads every file of a folder in the order of names, and no folder in it", async () => {
    await write("002.json", group("hd-1", "late"));
    await write("001.json", group("hd-1", "early"), group("hd-2", "x"));
    await writeFile(join(folder, "README.md"), "not a record");
    await mkdir(join(folder, "003.json"));
    await using directory = await open();
    await directory.ready(new AbortController().signal);
    expect(directory.entries().map(({ name }) => name)).toEqual(["hd-1", "hd-2"]);
    expect(directory.entry("hd-1")).toMatchObject({
      groups: ["late"],
      records: [{ signature: null, hash: "" }, { parent_hash: "" }],
    });
    expect(directory.entry("hd-3")).toBeUndefined();
  });

  it("reads a single file", async () => {
    await write("one.json", group("hd-1", "a"));
    await using directory = await open(join(folder, "one.json"));
    expect(directory.entries()).toHaveLength(1);
  });

  it.each([
    ["is not there", async () => {}, /the directory .* cannot be read/],
    ["is not JSON", () => writeFile(join(folder, "one.json"), "{"), /one.json cannot be read/],
    [
      "has no records",
      () => writeFile(join(folder, "one.json"), "{}"),
      /one.json is not valid: records/,
    ],
    [
      "has a bad record",
      () => write("one.json", { name: "x" }),
      /one.json is not valid: records\.0/,
    ],
  ])("is not opened if a file %s", async (_, prepare, message) => {
    await prepare();
    await expect(open(join(folder, "one.json"))).rejects.toThrow(message);
  });

  it("follows changes, and keeps the last good version of a broken one", async () => {
    const lines: string[] = [];
    const log = pino({ level: "warn" }, { write: (line: string) => void lines.push(line) });
    await write("one.json", group("hd-1", "a"));
    await using directory = await open(folder, log);
    const changed = vi.fn();
    const stop = directory.onChange(changed);

    await write("two.json", group("hd-2", "b"));
    await vi.waitFor(() => expect(directory.entry("hd-2")?.groups).toEqual(["b"]), PATIENCE);
    expect(changed).toHaveBeenCalledTimes(1);

    await writeFile(join(folder, "one.json"), "broken");
    await vi.waitFor(() => expect(lines.join()).toContain("keeping its last version"), PATIENCE);
    expect(directory.entry("hd-1")?.groups).toEqual(["a"]);

    stop();
    await write("one.json", group("hd-1", "c"));
    await vi.waitFor(() => expect(directory.entry("hd-1")?.groups).toEqual(["c"]), PATIENCE);
    expect(changed).toHaveBeenCalledTimes(1);
    expect(lines).toHaveLength(1);
  });
});
