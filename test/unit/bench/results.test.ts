import { describe, expect, it } from "vitest";
import { chart } from "../../bench/chart.ts";
import { digest, withSection } from "../../bench/report.ts";
import { resultOf, shorten, table } from "../../bench/results.ts";

const measure = {
  key: "bulk",
  title: "Bulk <8>",
  figures: { gbps: { title: "throughput", unit: "Gbit/s", better: "more" } },
} as const;
const samples = new Map([
  ["direct", [{ gbps: 40 }, { gbps: 20 }, { gbps: 30 }]],
  ["eps-broker stream", [{ gbps: 15 }, { gbps: 14 }, { gbps: 16 }]],
]);
const result = resultOf(measure, { samples, noisy: undefined });

describe("what a run reports", () => {
  it("is medians with their span, and how many times a row's ours is", () => {
    const rows = table(result, "eps-broker stream").split("\n");
    expect(rows[2]).toBe("| direct | 30.0 [20.0–40.0] | 0.500 × |");
    expect(rows[3]).toBe("| eps-broker stream | 15.0 [14.0–16.0] |  |");
  });

  it("is told in short beside the best of the others, with a chart of each measure", () => {
    const others = new Map([
      ...samples,
      ["slow relay", [{ gbps: 5 }]],
      ["fast relay", [{ gbps: 10 }]],
    ]);
    const measures = [resultOf(measure, { samples: others, noisy: undefined })];
    const machine = "a machine";
    const run = { date: "2026-11-25", machine, rounds: 3, contestants: [], noisy: [], measures };
    expect(digest(run, "eps-broker stream").split("\n").slice(2)).toEqual([
      "| | ours | best of the others | ours, of theirs |",
      "| --- | ---: | --- | ---: |",
      "| Bulk <8>: throughput, Gbit/s, more is better | 15.0 | 10.0 (fast relay) | 1.50 × |",
      "",
      "<details><summary>A chart of each</summary>",
      "",
      "![Bulk <8>](test/bench/results/bulk.svg)",
      "",
      "</details>",
    ]);
  });

  it("has three digits that mean something", () => {
    expect([0, 0.1234, 1.234, 12.34, 123.4, 12_345].map(shorten)).toEqual([
      "0",
      "0.123",
      "1.23",
      "12.3",
      "123",
      "12 345",
    ]);
  });

  it("leaves out a figure that nobody has", () => {
    const figures = {
      ...measure.figures,
      idle: { title: "idle", unit: "bytes", better: "less" },
    } as const;
    const { rows } = resultOf({ ...measure, figures }, { samples, noisy: undefined });
    expect(Object.keys(rows[0]?.figures ?? {})).toEqual(["gbps"]);
  });

  it("is drawn with ours in another colour, and says its title safely", () => {
    const drawn = chart(result);
    expect(drawn.match(/class="ours"/g)).toHaveLength(1);
    expect(drawn).toContain("Bulk &#60;8&#62;");
  });

  it("goes between the README's marks, again and again", () => {
    const readme =
      "a\n<!-- figures of make bench: begin -->\nold\n<!-- figures of make bench: end -->\nb\n";
    const once = withSection(readme, "new");
    expect(once).not.toContain("old");
    expect(withSection(once, "new")).toBe(once);
    expect(() => withSection("no marks", "new")).toThrow("marks");
  });
});
