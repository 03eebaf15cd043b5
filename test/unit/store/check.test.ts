import { mkdtemp, readdir, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { silent } from "../../../src/core/log.ts";
import { checkStore } from "../../../src/store/check.ts";
import { openFileStore } from "../../../src/store/file.ts";

let folder: string;
let filename: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "check-store-"));
  filename = join(folder, "data.log");
});
afterEach(() => rm(folder, { recursive: true }));

const check = () => checkStore({ type: "file", settings: { filename } });
const entry = (text: string) => ({ type: 1, id: Buffer.alloc(16, 1), data: Buffer.from(text) });

describe("the check of a store", () => {
  it("counts what is in it, also while a program has it open, and changes nothing", async () => {
    await using store = await openFileStore({ filename }, { log: silent });
    await store.append([entry("a"), entry("b")]);
    const before = [await readFile(filename), await readdir(folder)];
    expect(await check()).toMatchObject({
      severity: "ok",
      what: `${filename} can be read (entries: 2)`,
    });
    expect([await readFile(filename), await readdir(folder)]).toEqual(before);
  });

  it("leaves a torn end to the program that will repair it", async () => {
    {
      await using store = await openFileStore({ filename }, { log: silent });
      await store.append([entry("a")]);
      await store.append([entry("b")]);
    }
    const { length } = await readFile(filename);
    await truncate(filename, length - 1);
    expect(await check()).toMatchObject({
      severity: "ok",
      what: `${filename} can be read (entries: 1)`,
    });
    expect(await readFile(filename)).toHaveLength(length - 1);
  });

  it("notes that it will be made, and makes nothing", async () => {
    filename = join(folder, "not", "yet", "data.log");
    expect(await check()).toMatchObject({ severity: "note" });
    expect(await readdir(folder)).toEqual([]);
  });

  it("finds damage", async () => {
    await writeFile(filename, "this is no log at all, but something else");
    expect(await check()).toMatchObject({
      severity: "problem",
      what: expect.stringContaining("is damaged at byte 0"),
      fix: expect.stringContaining("backup"),
    });
  });

  it("finds a path that cannot be one", async () => {
    await writeFile(filename, "");
    filename = join(filename, "below-a-file.log");
    expect(await check()).toMatchObject({
      severity: "problem",
      fix: expect.stringContaining("writable"),
    });
  });

  it("notes that memory forgets", async () => {
    expect(await checkStore({ type: "memory", settings: {} })).toMatchObject({ severity: "note" });
  });

  it("says where Redis does not answer", async () => {
    const settings = {
      addresses: ["127.0.0.1:1"],
      password: "",
      database: 0,
      key: "k",
      master_name: "",
    };
    expect(await checkStore({ type: "redis", settings })).toMatchObject({
      severity: "problem",
      what: expect.stringContaining("127.0.0.1:1"),
    });
  });
});
