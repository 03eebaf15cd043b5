import { getEventListeners } from "node:events";
import { expect, it, vi } from "vitest";
import { silent } from "../../../src/core/log.ts";
import { Registry } from "../../../src/roles/sd/registry.ts";
import type { Store } from "../../../src/store/store.ts";
import { issueRoot, trusting } from "../directory/authority.ts";

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
