import { afterEach, describe, expect, it } from "vitest";
import { orAbort } from "../../../src/core/deadline.ts";

describe("waiting for work or an abort", () => {
  const unhandled: unknown[] = [];
  const note = (reason: unknown): void => void unhandled.push(reason);
  afterEach(() => void process.off("unhandledRejection", note));

  it("rejects with the signal's reason, and later failures of the work end nobody", async () => {
    process.on("unhandledRejection", note);
    const stop = new AbortController();
    let fail = (_: unknown): void => {};
    const work = new Promise<void>((_, reject) => {
      fail = reject;
    });
    const before = orAbort(work, stop.signal);
    stop.abort("stopped");
    const after = orAbort(work.finally(), stop.signal);
    await expect(before).rejects.toBe("stopped");
    await expect(after).rejects.toBe("stopped");
    fail(new Error("too late"));
    await new Promise((resolve) => setImmediate(resolve));
    expect(unhandled).toEqual([]);
  });
});
