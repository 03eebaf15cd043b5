import fc from "fast-check";
import { afterEach, expect, it } from "vitest";
import { silent } from "../../src/core/log.ts";
import { openStore } from "../../src/store/open.ts";
import type { Store, StoredEntry } from "../../src/store/store.ts";
import { type Place, stores } from "../support/stores.ts";
import { describeWith } from "../support/tools.ts";

const entry = (text: string, type = 1): StoredEntry => ({
  type,
  id: Buffer.from("0123456789abcdef"),
  data: Buffer.from(text),
});
const texts = (entries: StoredEntry[]): string[] => entries.map(({ data }) => data.toString());

for (const { name, needs, lasts, place: makePlace } of stores) {
  describeWith(needs, `the ${name} store`, () => {
    const places: Place[] = [];
    const place = async (): Promise<{ open(): Promise<Store> }> => {
      const made = await makePlace();
      places.push(made);
      return { open: () => openStore(made.settings, { log: silent }) };
    };
    afterEach(async () => {
      await Promise.all(places.splice(0).map((each) => each.clear()));
    });

    it("begins empty", async () => {
      await using store = await (await place()).open();
      expect(await store.read()).toEqual([]);
    });

    it("gives back what was added since the last read, oldest first", async () => {
      await using store = await (await place()).open();
      await store.append([entry("a")]);
      await store.append([entry("b"), entry("c")]);
      expect(texts(await store.read())).toEqual(["a", "b", "c"]);
      expect(await store.read()).toEqual([]);

      await store.append([entry("d")]);
      expect(texts(await store.read())).toEqual(["d"]);
    });

    it(`${lasts ? "still has everything" : "has forgotten everything"} when it is opened again`, async () => {
      const { open } = await place();
      {
        await using store = await open();
        await store.append([entry("a"), entry("b")]);
        await store.read();
      }
      await using store = await open();
      await store.append([entry("c")]);
      expect(texts(await store.read())).toEqual(lasts ? ["a", "b", "c"] : ["c"]);
    });

    it("keeps types, ids and data as they were, whatever the bytes", async () => {
      const { open } = await place();
      const bytes = (size: number) =>
        fc.uint8Array({ maxLength: size }).map((array) => Buffer.from(array));
      const entries = fc.array(
        fc.record(
          { type: fc.nat(255), id: bytes(40), data: bytes(2_000) },
          { noNullPrototype: true },
        ),
        { maxLength: 8 },
      );
      await using store = await open();
      await fc.assert(
        fc.asyncProperty(entries, async (added) => {
          await store.append(added);
          expect(await store.read()).toEqual(added);
        }),
      );
    });

    it("keeps a megabyte in one entry", async () => {
      await using store = await (await place()).open();
      const large = entry("a megabyte ".repeat(100_000));
      await store.append([large, entry("behind")]);
      const [first, second] = await store.read();
      expect(first?.data.equals(large.data)).toBe(true);
      expect(second).toEqual(entry("behind"));
    });

    it("keeps batches together when many are added at once", async () => {
      await using store = await (await place()).open();
      const batches = Array.from({ length: 20 }, (_, i) => [`${i} first`, `${i} second`]);
      await Promise.all(batches.map((batch) => store.append(batch.map((text) => entry(text)))));
      expect(texts(await store.read())).toEqual(batches.flat());
    });

    it("gives an entry to one of two reads at the same time, and not to both", async () => {
      await using store = await (await place()).open();
      await store.append([entry("a")]);
      const reads = await Promise.all([store.read(), store.read()]);
      expect(texts(reads.flat())).toEqual(["a"]);
    });

    it("stores what an entry was when append was called", async () => {
      await using store = await (await place()).open();
      const reused = entry("before");
      const appended = store.append([reused]);
      reused.data.write("after!");
      await appended;
      expect(texts(await store.read())).toEqual(["before"]);
    });

    it("adds nothing when there is nothing to add", async () => {
      await using store = await (await place()).open();
      await store.append([]);
      expect(await store.read()).toEqual([]);
    });

    it("finishes what it was told before it closes, and refuses what comes after", async () => {
      const { open } = await place();
      const closing = await open();
      const appended = closing.append([entry("in time")]);
      await closing[Symbol.asyncDispose]();
      await appended;
      await expect(closing.append([entry("late")])).rejects.toThrow("closed");
      await expect(closing.read()).rejects.toThrow("closed");

      await using store = await open();
      expect(texts(await store.read())).toEqual(lasts ? ["in time"] : []);
    });
  });
}
