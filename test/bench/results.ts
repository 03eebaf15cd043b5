import type { Figure, Measure } from "./measures.ts";
import type { Outcome } from "./run.ts";
import { type Summary, summary } from "./statistics.ts";

/** A run as `bench.json` keeps it, and as tables and charts are made from. */
export type Results = {
  readonly date: string;
  readonly machine: string;
  /** How many rounds each contestant had, in turns. */
  readonly rounds: number;
  readonly contestants: readonly { name: string; what: string; version: string }[];
  readonly measures: readonly MeasureResult[];
  /** What was measured and is not among them, and why not. */
  readonly noisy: readonly string[];
};

export type MeasureResult = {
  readonly key: string;
  readonly title: string;
  readonly figures: Readonly<Record<string, Figure>>;
  readonly rows: readonly Row[];
};

type Row = { readonly name: string; readonly figures: Readonly<Record<string, Summary>> };

export function resultOf(
  { key, title, figures }: Pick<Measure, "key" | "title" | "figures">,
  { samples }: Outcome,
): MeasureResult {
  const rows = [...samples].map(([name, each]) => ({
    name,
    figures: Object.fromEntries(
      Object.keys(figures)
        .filter((figure) => each.some((sample) => figure in sample))
        .map((figure) => [figure, summary(each.map((sample) => sample[figure] ?? 0))]),
    ),
  }));
  return { key, title, figures, rows };
}

/** How a contestant of ours compares, as "1.2 ×" of each other one's median. */
export function timesOf(figure: string, row: Row, other: Row): string {
  const [mine, theirs] = [row.figures[figure]?.median, other.figures[figure]?.median];
  if (mine === undefined || !theirs) return "";
  return `${shorten(mine / theirs)} ×`;
}

export function span({ median, min, max }: Summary): string {
  return `${shorten(median)} [${shorten(min)}–${shorten(max)}]`;
}

/** Three digits that mean something, and no exponent. */
export function shorten(value: number): string {
  if (value === 0) return "0";
  const digits = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))));
  return value.toFixed(Math.min(digits, 3)).replace(/\B(?=(\d{3})+$)/g, digits === 0 ? " " : "");
}

/** A table in Markdown: what was measured, and how often that of ours (the first, without one so named). */
export function table({ figures, rows }: MeasureResult, ours: string): string {
  const mine =
    rows.find(({ name }) => name === ours) ??
    rows.find(({ name }) => name.startsWith("eps-broker"));
  const columns = Object.entries(figures);
  const heads = columns.flatMap(([, { title, unit, better }]) =>
    ["relay", "load"].includes(title)
      ? [`${title}, ${unit}`]
      : [`${title}, ${unit}`, better === "more" ? "ours, more is better" : "ours, less is better"],
  );
  const lines = rows.map((row) => {
    const cells = columns.flatMap(([key, { title }]) => {
      const each = row.figures[key];
      const told = each ? span(each) : "";
      if (["relay", "load"].includes(title)) return [told];
      return [told, mine && row !== mine ? timesOf(key, mine, row) : ""];
    });
    return `| ${[row.name, ...cells].join(" | ")} |`;
  });
  return [
    `| | ${heads.join(" | ")} |`,
    `| --- | ${heads.map(() => "---:").join(" | ")} |`,
    ...lines,
  ].join("\n");
}
