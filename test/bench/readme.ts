import { type Results, table } from "./results.ts";

const BEGIN = "<!-- figures of make bench: begin -->";
const END = "<!-- figures of make bench: end -->";

/** What the README shows of a run: where and when, who took part, and a table and a chart for each measure. */
export function section(results: Results, ours: string): string {
  const { date, machine, rounds, contestants, measures, noisy } = results;
  const tables = measures.flatMap((measure) => [
    `### ${measure.title}`,
    `![${measure.title}](test/bench/results/${measure.key}.svg)`,
    `<details><summary>Figures</summary>\n\n${table(measure, ours)}\n\n</details>`,
  ]);
  return [
    `${date}, ${machine}. Medians [least–most] of ${rounds} rounds in turns, all on loopback; "ours" is ${ours} divided by the row.`,
    contestants.map(({ name, what, version }) => `- ${name} (${version}): ${what}`).join("\n"),
    ...tables,
    ...(noisy.length > 0 ? [`Too noisy to be told: ${noisy.join("; ")}.`] : []),
  ].join("\n\n");
}

/** Puts it between the two marks. Throws if they are not there. */
export function withSection(readme: string, words: string): string {
  const [begin, end] = [readme.indexOf(BEGIN), readme.indexOf(END)];
  if (begin < 0 || end < begin) throw new Error("the README has lost the marks for the figures");
  return `${readme.slice(0, begin + BEGIN.length)}\n\n${words}\n\n${readme.slice(end)}`;
}
