import { expect, it, vi } from "vitest";
import { openMetrics } from "../../../src/core/metrics.ts";
import { DirectoryEvents } from "../../../src/directory/events.ts";
import { operator } from "../../support/directory.ts";
import { samples } from "../../support/metrics.ts";

it("shows how old a copy of the directory is, also when it was never read", async () => {
  vi.useFakeTimers({ toFake: ["performance"] });
  try {
    const metrics = openMetrics();
    const events = new DirectoryEvents({ metrics });
    const seen = async () => {
      const all = samples(await metrics.metrics());
      const names = ["age_seconds", "operators", "failures_total"];
      return names.map((name) => all.get(`eps_broker_directory_${name}`));
    };
    vi.advanceTimersByTime(7_000);
    events.failed();
    expect(await seen()).toEqual([7, 0, 1]);
    events.read([operator("hd-1"), operator("hd-2")]);
    vi.advanceTimersByTime(1_500);
    expect(await seen()).toEqual([1.5, 2, 1]);
  } finally {
    vi.useRealTimers();
  }
});
