import { type MeasureResult, type Results, shorten, table, timesOf } from "./results.ts";

const BEGIN = "<!-- figures of make bench: begin -->";
const END = "<!-- figures of make bench: end -->";
/** What the load or the relay took is told in the report, and is no figure to be compared. */
const BESIDE = ["relay", "load"];

/** A run in full: where and when, who took part, and a table and a chart for each measure. */
export function report(results: Results, ours: string): string {
  const { contestants, measures, noisy } = results;
  const tables = measures.flatMap((measure) => [
    `## ${measure.title}`,
    `![${measure.title}](${measure.key}.svg)`,
    table(measure, ours),
  ]);
  return [
    "# A run of `make bench`",
    `${circumstances(results)} "ours" is ${ours} divided by the row.`,
    contestants.map(({ name, what, version }) => `- ${name} (${version}): ${what}`).join("\n"),
    ...tables,
    ...(noisy.length > 0 ? [`Too noisy to be told: ${noisy.join("; ")}.`] : []),
    "",
  ].join("\n\n");
}

/** Where the README finds the charts. */
const CHARTS = "test/bench/results/";

/** The same in short, for the README: each figure beside the best of the others, whoever that is. */
export function digest(results: Results, ours: string): string {
  const lines = results.measures.flatMap((measure) => comparisons(measure, ours));
  return [
    circumstances(results),
    ["| | ours | best of the others | ours, of theirs |", "| --- | ---: | --- | ---: |"]
      .concat(lines)
      .join("\n"),
    ...(results.noisy.length > 0 ? ["What was too noisy is left out."] : []),
    "<details><summary>A chart of each</summary>",
    ...results.measures.map(({ key, title }) => `![${title}](${CHARTS}${key}.svg)`),
    "</details>",
  ].join("\n\n");
}

function circumstances({ date, machine, rounds }: Results): string {
  return `${date}, ${machine}. Medians of ${rounds} rounds in turns, all on loopback.`;
}

function comparisons({ title, figures, rows }: MeasureResult, ours: string): string[] {
  const isOurs = (name: string): boolean => name.startsWith("eps-broker");
  const mine = rows.find(({ name }) => name === ours) ?? rows.find(({ name }) => isOurs(name));
  const relays = rows.filter(({ name }) => !isOurs(name) && !name.startsWith("direct"));
  const others = relays.length > 0 ? relays : rows.filter(({ name }) => !isOurs(name));
  if (!mine) return [];
  return Object.entries(figures).flatMap(([key, { title: what, unit, better }]) => {
    const median = (row: (typeof rows)[number]): number | undefined => row.figures[key]?.median;
    const own = median(mine);
    if (BESIDE.includes(what) || own === undefined) return [];
    const sign = better === "more" ? -1 : 1;
    const [best] = others
      .filter((row) => median(row) !== undefined)
      .sort((a, b) => sign * ((median(a) ?? 0) - (median(b) ?? 0)));
    const theirs = best ? `${shorten(median(best) ?? 0)} (${best.name})` : "";
    const times = best ? timesOf(key, mine, best) : "";
    return [
      `| ${title}: ${what}, ${unit}, ${better} is better | ${shorten(own)} | ${theirs} | ${times} |`,
    ];
  });
}

/** Puts words between the two marks of a README. Throws if they are not there. */
export function withSection(readme: string, words: string): string {
  const [begin, end] = [readme.indexOf(BEGIN), readme.indexOf(END)];
  if (begin < 0 || end < begin) throw new Error("the README has lost the marks for the figures");
  return `${readme.slice(0, begin + BEGIN.length)}\n\n${words}\n\n${readme.slice(end)}`;
}
