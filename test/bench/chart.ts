import { type MeasureResult, shorten } from "./results.ts";

const WIDTH = 720;
const NAME_WIDTH = 210;
const BAR_WIDTH = 380;
const ROW = 22;
const BAR = 12;
const HEAD = 34;

/** Bars for the first two figures of a measure, ours in another colour, with whiskers from min to max. */
export function chart({ title, figures, rows }: MeasureResult): string {
  const parts: string[] = [];
  let y = HEAD;
  for (const [key, { title: figure, unit, better }] of Object.entries(figures).slice(0, 2)) {
    const bars = rows.filter((row) => (row.figures[key]?.median ?? 0) > 0);
    const most = Math.max(...bars.map((row) => row.figures[key]?.max ?? 0));
    parts.push(text(0, y, `${figure}, ${unit} (${better} is better)`, "head"));
    y += ROW - 6;
    for (const { name, figures: told } of bars) {
      const { median, min, max } = told[key] ?? { median: 0, min: 0, max: 0 };
      const [to, from, until] = [median, min, max].map((each) => (each / most) * BAR_WIDTH);
      const middle = y + BAR / 2;
      const kind = name.startsWith("eps-broker") ? "ours" : "theirs";
      parts.push(
        text(NAME_WIDTH - 8, y + BAR - 2, name, "name"),
        `<rect class="${kind}" x="${NAME_WIDTH}" y="${y}" width="${fixed(to)}" height="${BAR}" rx="2"/>`,
        `<path class="span" d="M${fixed(NAME_WIDTH + (from ?? 0))} ${middle}H${fixed(NAME_WIDTH + (until ?? 0))}"/>`,
        text(NAME_WIDTH + (until ?? 0) + 8, y + BAR - 2, shorten(median), "value"),
      );
      y += ROW;
    }
    y += ROW;
  }
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${y}" width="${WIDTH}" height="${y}" role="img" aria-label="${plain(title)}">
<style>
  text { font: 12px system-ui, sans-serif; fill: #333 }
  .title { font-weight: 600; font-size: 14px }
  .head { font-weight: 600 }
  .name { text-anchor: end }
  .ours { fill: #c2410c }
  .theirs { fill: #94a3b8 }
  .span { stroke: #333; stroke-width: 1.5 }
  @media (prefers-color-scheme: dark) {
    text { fill: #ddd }
    .ours { fill: #fb923c }
    .theirs { fill: #64748b }
    .span { stroke: #ddd }
  }
</style>
${text(0, 14, title, "title")}
${parts.join("\n")}
</svg>
`;
}

function text(x: number, y: number, words: string, kind: string): string {
  return `<text class="${kind}" x="${fixed(x)}" y="${y}">${plain(words)}</text>`;
}

function fixed(value = 0): string {
  return value.toFixed(1);
}

function plain(words: string): string {
  return words.replace(/[&<>"]/g, (sign) => `&#${sign.charCodeAt(0)};`);
}
