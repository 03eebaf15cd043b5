import { getEventListeners } from "node:events";
import { expect, it, vi } from "vitest";
import { silent } from "../../../src/core/log.ts";
import { openMetrics } from "../../../src/core/metrics.ts";
import { SdEvents } from "../../../src/roles/sd/events.ts";
import { sdMethods } from "../../../src/roles/sd/methods.ts";
import { Registry } from "../../../src/roles/sd/registry.ts";
import type { Store } from "../../../src/store/store.ts";
import { samples } from "../../support/metrics.ts";
import { until } from "../../support/until.ts";
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

it("counts submissions by outcome and who waits, and says when its store cannot be written", async () => {
  let full = false;
  const store: Store = {
    read: async () => [],
    append: async () => {
      if (full) throw new Error("no space left on device");
    },
    [Symbol.asyncDispose]: async () => {},
  };
  const root = await issueRoot();
  const admin = await issueSigner("hd-1", root);
  const registry = await Registry.open(store, { trust: trusting([root]), log: silent });
  const metrics = openMetrics();
  const methods = sdMethods(registry, { events: new SdEvents({ metrics, registry }) });
  const signal = new AbortController().signal;
  const submit = async (...records: unknown[]): Promise<unknown> =>
    methods.get("submitRecords")?.({ records } as never, signal, "r1");
  const seen = async (name: string) =>
    samples(await metrics.metrics()).get(`eps_broker_sd_${name}`);
  const submitted = (outcome: string) => seen(`submitted_total{outcome="${outcome}"}`);

  const pen = new Pen();
  const [first, second] = [pen.pin(admin, "hd-1"), pen.write(admin, "hd-1", "groups", ["g"])];
  const waiting = methods.get("getRecords")?.({ after: "", wait_ms: 60_000 }, signal, "r1");
  await until(async () => (await seen("waiting")) === 1, "somebody waits");
  await submit(first);
  expect(await waiting).toHaveLength(1);
  await expect(submit(first)).rejects.toMatchObject({ fault: "conflict" });
  full = true;
  await expect(submit(second)).rejects.toThrow();
  expect(registry.whyUnwritten).toBe("no space left on device");
  full = false;
  await submit(second);
  expect(registry.whyUnwritten).toBeUndefined();
  expect(await Promise.all([seen("waiting"), seen("records")])).toEqual([0, 2]);
  expect(await Promise.all(["accepted", "conflict", "internal"].map(submitted))).toEqual([2, 1, 1]);
});
