import { getEventListeners } from "node:events";
import { expect, it, vi } from "vitest";
import { silent } from "../../../src/core/log.ts";
import { Registry } from "../../../src/roles/sd/registry.ts";
import type { Store } from "../../../src/store/store.ts";
import { issueRoot, issueSigner, Pen, trusting } from "../directory/authority.ts";

it("keeps nothing of those who waited for news in vain", async () => {
  const controllers: AbortController[] = [];
  const Original = AbortController;
  vi.stubGlobal(
    "AbortController",
    class extends Original {
      constructor() {
        super();
        controllers.push(this);
      }
    },
  );
  try {
    const store: Store = {
      read: async () => [],
      append: async () => {},
      [Symbol.asyncDispose]: async () => {},
    };
    const trust = trusting([await issueRoot()]);
    const registry = await Registry.open(store, { trust, log: silent });
    const callers = Array.from({ length: 50 }, () => new Original());
    await Promise.all(callers.map(({ signal }) => registry.after("", 1, signal)));
    expect(controllers.length).toBeGreaterThan(50);
    const left = [...controllers, ...callers].flatMap(({ signal }) =>
      getEventListeners(signal, "abort"),
    );
    expect(left).toEqual([]);
  } finally {
    vi.unstubAllGlobals();
  }
});

it("refuses a datastore that has lost the beginning, and says what to do", async () => {
  const root = await issueRoot();
  const signer = await issueSigner("hd-1", root);
  const pen = new Pen();
  const records = [
    pen.pin(signer, "hd-1"),
    pen.write(signer, "hd-2", "groups", []),
    pen.write(signer, "hd-3", "groups", []),
  ];
  const holding = (texts: string[]): Store => ({
    read: async () =>
      texts.map((text) => ({ type: 1, id: Buffer.alloc(16), data: Buffer.from(text) })),
    append: async () => {},
    [Symbol.asyncDispose]: async () => {},
  });
  const open = (texts: string[]) =>
    Registry.open(holding(texts), { trust: trusting([root]), log: silent });
  const texts = records.map((record) => JSON.stringify(record));
  expect((await open(texts)).ledger.records).toHaveLength(3);
  expect((await open([])).ledger.records).toHaveLength(0);
  // A damaged end is a shorter directory, which endpoints that know more notice.
  expect((await open([...texts.slice(0, 2), "{"])).ledger.records).toHaveLength(2);
  for (const damaged of [
    ["{", ...texts.slice(1)],
    texts.slice(1),
    [texts[0]?.replace("hd-1", "hd-9") ?? "", ...texts.slice(1)],
  ]) {
    await expect(open(damaged)).rejects.toThrow(
      /lost the beginning.*backup.*submit-records --reset/s,
    );
  }
});
