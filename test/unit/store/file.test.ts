import { once } from "node:events";
import {
  appendFile,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  stat,
  truncate,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { pino } from "pino";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { silent } from "../../../src/core/log.ts";
import { Assembler, parseChunk, toChunks } from "../../../src/store/chunks.ts";
import { decodeEntry, encodeEntry } from "../../../src/store/entry.ts";
import { openFileStore } from "../../../src/store/file.ts";
import type { StoredEntry } from "../../../src/store/store.ts";
import { appendForever } from "../../support/append-forever.ts";

// The example of eps-protocol 9.1.
const VECTOR = Buffer.from(
  "010100000010004142434445464748494a4b4c4d4e4f501b00010110003031323334353637383961626364656" +
    "67b2261223a317d",
  "hex",
);
const VECTOR_ENTRY = {
  type: 1,
  id: Buffer.from("0123456789abcdef"),
  data: Buffer.from('{"a":1}'),
};

const entry = (text: string): StoredEntry => ({ ...VECTOR_ENTRY, data: Buffer.from(text) });
const texts = (entries: StoredEntry[]): string[] => entries.map(({ data }) => data.toString());
const chunks = (text: string, id: string): Buffer[] => {
  const bytes = toChunks(encodeEntry(entry(text)), Buffer.from(id.padEnd(16)));
  const parts: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += 256) parts.push(bytes.subarray(at, at + 256));
  return parts;
};

let folder: string;
let filename: string;
const open = (log = silent) => openFileStore({ filename }, { log });
const contents = async (): Promise<string[]> => {
  await using store = await open();
  return texts(await store.read());
};
const tornCopies = async (): Promise<string[]> =>
  (await readdir(folder)).filter((name) => name.includes(".torn-"));

/** A log, and the lines it was told. */
const listening = () => {
  const lines: Array<Record<string, unknown>> = [];
  return { log: pino({}, { write: (line: string) => lines.push(JSON.parse(line)) }), lines };
};

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "store-"));
  filename = join(folder, "entries");
});
afterEach(() => rm(folder, { recursive: true }));

describe("the bytes in the file", () => {
  it("are those of the original, read [stores 1]", async () => {
    await writeFile(filename, VECTOR);
    await using store = await open();
    expect(await store.read()).toEqual([VECTOR_ENTRY]);
  });

  it("are those of the original, written [stores 1]", () => {
    expect(toChunks(encodeEntry(VECTOR_ENTRY), Buffer.from("ABCDEFGHIJKLMNOP"))).toEqual(VECTOR);
  });

  it("are full chunks of 256 bytes and a shorter last one", async () => {
    await using store = await open();
    await store.append([entry("x".repeat(600))]);
    const bytes = await readFile(filename);
    // 20 bytes of entry header and id, 600 of data: 231 + 231 + 158.
    expect(bytes.length).toBe(256 + 256 + 25 + 158);
    expect([0, 256, 512].map((at) => bytes.subarray(at, at + 7).toString("hex"))).toEqual([
      "01030000001000",
      "01030001001000",
      "01030002001000",
    ]);
    expect(bytes.subarray(7, 23)).toEqual(bytes.subarray(263, 279));
    expect([23, 279, 535].map((at) => bytes.readUInt16LE(at))).toEqual([231, 231, 158]);
  });

  it("have a chunk id of their own for each entry", async () => {
    await using store = await open();
    await store.append([VECTOR_ENTRY, VECTOR_ENTRY]);
    const bytes = await readFile(filename);
    expect(bytes.subarray(7, 23)).not.toEqual(bytes.subarray(59, 75));
  });

  it("may interleave, and the first chunk decides the order", async () => {
    const [a0, a1] = chunks(`a${"-".repeat(300)}`, "a");
    const [b0] = chunks("b", "b");
    await writeFile(filename, Buffer.concat([a0 as Buffer, b0 as Buffer, a1 as Buffer]));
    expect(await contents()).toEqual([`a${"-".repeat(300)}`, "b"]);
  });

  it("belong to their owner alone, in a folder that is made for them", async () => {
    filename = join(folder, "not", "yet", "entries");
    await using _ = await open();
    expect((await stat(filename)).mode & 0o777).toBe(0o600);
  });

  it("are too many when an entry needs more than 65535 chunks", async () => {
    await using store = await open();
    const largest = 65_535 * 231 - 20;
    const tooLarge = { ...VECTOR_ENTRY, data: Buffer.alloc(largest + 1) };
    await expect(store.append([entry("a"), tooLarge])).rejects.toMatchObject({
      fault: "too_large",
    });
    expect(await store.read()).toEqual([]);

    await store.append([{ ...VECTOR_ENTRY, data: Buffer.alloc(largest, "x") }]);
    expect((await store.read()).map(({ data }) => data.length)).toEqual([largest]);
  });

  it.each([
    ["no bytes", ""],
    ["a header cut short", "010110"],
    ["another version", "02010000"],
    ["an id longer than the entry", "01010300abcd"],
  ])("are no entry with %s", (_, hex) => {
    expect(() => decodeEntry(Buffer.from(hex, "hex"))).toThrow(
      expect.objectContaining({ fault: "malformed" }),
    );
  });
});

describe("a file whose end is torn", () => {
  const kept = ["first", `second ${"2".repeat(500)}`, "third", `fourth ${"4".repeat(212)}`];

  it("keeps every whole entry and serves no part of one, wherever it is cut", {
    timeout: 120_000,
  }, async () => {
    const parts = kept.map((text, i) => Buffer.concat(chunks(text, `id ${i}`)));
    const ends = parts.map((_, i) => Buffer.concat(parts.slice(0, i + 1)).length);
    const whole = Buffer.concat(parts);
    for (let cut = 0; cut <= whole.length; cut += 1) {
      await writeFile(filename, whole.subarray(0, cut));
      const survivors = kept.filter((_, i) => (ends[i] as number) <= cut);
      const intact = [0, ...ends].filter((end) => end <= cut).at(-1) as number;
      {
        await using store = await open();
        expect(texts(await store.read()), `cut at ${cut}`).toEqual(survivors);
        const copies = await tornCopies();
        expect(copies).toHaveLength(intact === cut ? 0 : 1);
        for (const copy of copies) {
          expect(await readFile(join(folder, copy))).toEqual(whole.subarray(intact, cut));
          await rm(join(folder, copy));
        }
        await store.append([entry("behind")]);
        expect(texts(await store.read())).toEqual(["behind"]);
      }
      expect(await contents(), `cut at ${cut}, and opened again`).toEqual([...survivors, "behind"]);
    }
  });

  it("says in one line what was recovered", async () => {
    await writeFile(filename, Buffer.concat([VECTOR, VECTOR.subarray(0, 30)]));
    const { log, lines } = listening();
    await using _ = await open(log);
    const [copy = ""] = await tornCopies();
    expect(lines).toEqual([
      expect.objectContaining({ level: 40, bytes: 30, entries: 1, copy: join(folder, copy) }),
    ]);
  });

  it("loses the zeros that a power cut leaves where bytes had not arrived", async () => {
    await writeFile(filename, Buffer.concat([VECTOR, Buffer.alloc(5_000)]));
    expect(await contents()).toEqual(['{"a":1}']);
    expect((await stat(filename)).size).toBe(VECTOR.length);
  });

  it("skips an unfinished entry among finished ones, and says so each time", async () => {
    const [a0, a1] = chunks(`a${"-".repeat(600)}`, "a");
    const [b0] = chunks("b", "b");
    await writeFile(filename, Buffer.concat([a0 as Buffer, b0 as Buffer, a1 as Buffer]));
    expect(await contents()).toEqual(["b"]);
    expect((await stat(filename)).size).toBe(256 + (b0 as Buffer).length);

    const { log, lines } = listening();
    await using store = await open(log);
    await store.append([entry("c")]);
    expect(texts(await store.read())).toEqual(["b", "c"]);
    expect(lines).toEqual([expect.objectContaining({ level: 40, entries: 1 })]);
  });
});

describe("a batch", () => {
  const before = Buffer.concat(chunks("before", "0"));
  const batch = ["a", "b", "c"].map((text) => Buffer.concat(chunks(text, text)));

  it("is gone when its process died between its entries", async () => {
    for (let entries = 0; entries <= batch.length; entries += 1) {
      await writeFile(filename, Buffer.concat([before, ...batch.slice(0, entries)]));
      await writeFile(`${filename}.intent`, `${before.length}\n`);
      expect(await contents()).toEqual(["before"]);
      expect(await readdir(folder)).not.toContain("entries.intent");
    }
  });

  it("had not begun when the intent itself is torn", async () => {
    await writeFile(filename, Buffer.concat([before, ...batch]));
    await writeFile(`${filename}.intent`, String(before.length));
    expect(await contents()).toEqual(["before", "a", "b", "c"]);
  });

  it("leaves no intent behind", async () => {
    await using store = await open();
    await store.append([entry("a"), entry("b")]);
    expect((await readdir(folder)).sort()).toEqual(["entries", "entries.lock"]);
  });
});

describe("a file damaged in the middle", () => {
  const first = Buffer.concat(chunks(`first ${"1".repeat(300)}`, "1"));
  const second = Buffer.concat(chunks("second", "2"));
  const whole = Buffer.concat([first, second, VECTOR]);

  it.each([
    ["a version nobody knows", first.length, 2, "chunk version 2"],
    ["zeros with something behind them", first.length, 0, "chunk version 0"],
    ["an index out of turn", 256 + 3, 0, "chunk 0 of an entry whose next chunk is 1"],
    ["an index beyond the count", first.length + 3, 1, "chunk 1 of 1"],
    ["another count than before", 256 + 1, 3, "counts 3 pieces, and 2 before"],
    ["an id of another length", first.length + 5, 8, "a chunk id of 8 bytes"],
    ["an impossible length", first.length + 24, 1, "bytes of payload"],
    ["an entry version nobody knows", first.length + 25, 9, "entry version 9"],
    ["an entry id that is too long", first.length + 27, 200, "an id that ends at byte"],
  ])("is named and left alone: %s", async (_, at, byte, complaint) => {
    const damaged = Buffer.from(whole);
    damaged[at] = byte;
    await writeFile(filename, damaged);

    const offset = at < first.length ? 256 : first.length;
    const opening = open();
    await expect(opening).rejects.toMatchObject({ fault: "malformed", detail: { offset } });
    await expect(opening).rejects.toThrow(`${filename} is damaged at byte ${offset}`);
    await expect(opening).rejects.toThrow(complaint);
    expect(await readFile(filename)).toEqual(damaged);
    expect(await readdir(folder)).toEqual(["entries"]);

    await truncate(filename, offset); // what the fault proposes
    expect(await contents()).toEqual(offset === 256 ? [] : [`first ${"1".repeat(300)}`]);
  });

  it("never makes the parser throw anything else, whatever the bytes", () => {
    // Every single byte of a valid file, set to every value.
    for (let at = 0; at < whole.length; at += 1) {
      for (const byte of [0, 1, 2, 16, 127, 255]) {
        const bent = Buffer.from(whole);
        bent[at] = byte;
        const assembler = new Assembler();
        try {
          let offset = 0;
          for (let chunk = parseChunk(bent, 0, 0); chunk; chunk = parseChunk(bent, offset, 0)) {
            assembler.add(chunk, offset);
            offset += chunk.size;
          }
          assembler.entries();
        } catch (reason) {
          expect(reason).toHaveProperty("offset");
        }
      }
    }
  });
});

describe("a file of another program", () => {
  it.each([
    ["a text", Buffer.from("name: sd-1\n".repeat(100))],
    ["an archive", Buffer.from("1f8b0800000000000003", "hex")],
    ["a database", Buffer.from(`SQLite format 3\0${"x".repeat(5_000)}`)],
    ["a list of our entries, without chunks", encodeEntry(VECTOR_ENTRY)],
  ])("is refused and left as it is: %s", async (_, bytes) => {
    await writeFile(filename, bytes);
    await expect(open()).rejects.toMatchObject({ fault: "malformed" });
    expect(await readFile(filename)).toEqual(bytes);
    expect(await readdir(folder)).toEqual(["entries"]);
  });

  it("loses no byte, whatever they are: what is cut away lies beside it", async () => {
    // Beginnings of chunks, so that some garbage is taken for an entry that was being written.
    const beginning = fc.constantFrom(
      "",
      "01",
      "010100",
      "0101000000100041",
      VECTOR.toString("hex"),
    );
    await fc.assert(
      fc.asyncProperty(beginning, fc.uint8Array({ maxLength: 300 }), async (hex, tail) => {
        const bytes = Buffer.concat([Buffer.from(hex, "hex"), tail]);
        await writeFile(filename, bytes);
        const store = await open().catch((reason) => {
          expect(reason).toMatchObject({ fault: "malformed" });
        });
        await store?.[Symbol.asyncDispose]();
        const [copy, ...others] = await tornCopies();
        const torn = copy ? await readFile(join(folder, copy)) : Buffer.alloc(0);
        expect(Buffer.concat([await readFile(filename), torn])).toEqual(bytes);
        expect(others).toEqual([]);
        if (copy) await rm(join(folder, copy));
      }),
    );
  });
});

describe("a store file", () => {
  it("is open once in a process", async () => {
    await using store = await open();
    const second = open();
    await expect(second).rejects.toMatchObject({
      fault: "conflict",
      detail: { pid: process.pid },
    });
    await expect(second).rejects.toThrow(`is open in process ${process.pid}`);
    await store.append([entry("still works")]);
    await store[Symbol.asyncDispose]();
    expect(await contents()).toEqual(["still works"]);
  });

  it("is open in one process", async () => {
    const { child, lines } = appendForever({ type: "file", settings: { filename } });
    const exited = once(child, "exit");
    for await (const line of lines) if (line.startsWith("open")) break;
    await expect(open()).rejects.toThrow(`is open in process ${child.pid}`);
    child.kill("SIGKILL");
    await exited;
    expect((await readFile(`${filename}.lock`, "utf8")).split(" ")[0]).toBe(String(child.pid));
    await contents();
    expect(await readdir(folder)).not.toContain("entries.lock");
  });

  it.each([
    ["the lock of a process that has our pid, as in a container", `${process.pid} 1\n`],
    ["the lock of a dead process", "999999999 1\n"],
    ["an empty lock", ""],
  ])("opens in spite of %s", async (_, lock) => {
    await writeFile(`${filename}.lock`, lock);
    expect(await contents()).toEqual([]);
  });

  it("goes to one of many who find the same stale lock", async () => {
    for (let round = 0; round < 50; round += 1) {
      await writeFile(`${filename}.lock`, "999999999 1\n");
      const openings = await Promise.allSettled(Array.from({ length: 10 }, () => open()));
      const opened = openings.filter((each) => each.status === "fulfilled");
      expect(opened).toHaveLength(1);
      await opened[0]?.value[Symbol.asyncDispose]();
    }
    expect(await readdir(folder)).toEqual(["entries"]);
  });

  it("goes to one of several processes that find the same stale lock", async () => {
    for (let round = 0; round < 3; round += 1) {
      await writeFile(`${filename}.lock`, "999999999 1\n");
      const rivals = Array.from({ length: 4 }, () =>
        appendForever({ type: "file", settings: { filename } }),
      );
      const exits = rivals.map(({ child }) => once(child, "exit"));
      // The losers end with a fault. The winner would not end by itself.
      const winners = await Promise.all(
        rivals.map(async ({ lines }) => {
          for await (const line of lines) if (line.startsWith("open")) return true;
          return false;
        }),
      );
      expect(winners.filter(Boolean)).toHaveLength(1);
      for (const { child } of rivals) child.kill("SIGKILL");
      await Promise.all(exits);
    }
  });

  it("names the guard that a process left which died while it took over", async () => {
    await writeFile(`${filename}.lock`, "999999999 1\n");
    await writeFile(`${filename}.lock.takeover`, "999999999 1\n");
    await expect(open()).rejects.toThrow("entries.lock.takeover was left");
  });

  it("takes nothing more once somebody else has written to it", async () => {
    await using store = await open();
    await store.append([entry("a")]);
    await appendFile(filename, VECTOR);
    await expect(store.append([entry("b")])).rejects.toMatchObject({ fault: "conflict" });
    await rm(filename);
    await expect(store.append([entry("b")])).rejects.toMatchObject({ fault: "conflict" });
  });

  it("says which file it was that could not be opened", async () => {
    filename = join(folder, "a folder");
    await mkdir(filename);
    await expect(open()).rejects.toMatchObject({ fault: "settings" });
    await expect(open()).rejects.toThrow(filename);
    expect(await readdir(folder)).toEqual(["a folder"]);
  });
});
