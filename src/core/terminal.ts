import { stripVTControlCharacters, styleText } from "node:util";

/** How commands show things to people. Colour only on a terminal; NO_COLOR and FORCE_COLOR are honoured. */

export type Style = Parameters<typeof styleText>[0];

export function styled(style: Style, text: string): string {
  return styleText(style, text, { stream: process.stdout });
}

/** Columns as wide as their content, each but the last padded, without spaces at the ends of lines. */
export function columns(rows: readonly (readonly string[])[]): string[] {
  const widths: number[] = [];
  for (const row of rows) {
    for (const [index, cell] of row.entries()) {
      widths[index] = Math.max(widths[index] ?? 0, widthOf(cell));
    }
  }
  return rows.map((row) =>
    row
      .map((cell, index) => cell + " ".repeat((widths[index] ?? 0) - widthOf(cell)))
      .join("  ")
      .trimEnd(),
  );
}

/** A table with a head. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  return columns([head.map((title) => styled("bold", title)), ...rows]);
}

/** Text that others wrote, such as a name in the directory: it cannot move our cursor or hide a line. */
export function visible(text: string): string {
  return text.replace(
    /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Surrogate}]/gu,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

export function printLines(lines: readonly string[]): void {
  if (lines.length > 0) process.stdout.write(`${lines.join("\n")}\n`);
}

/** One line, which programs can read. */
export function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}

function widthOf(text: string): number {
  return [...stripVTControlCharacters(text)].length;
}
