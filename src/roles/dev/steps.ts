import { styleText } from "node:util";

const plain = process.env["NO_COLOR"] !== undefined || !process.stdout.isTTY;

function paint(style: "green" | "red" | "dim" | "bold", text: string): string {
  return plain ? text : styleText(style, text);
}

export function say(text = ""): void {
  process.stdout.write(`${text}\n`);
}

export function heading(text: string): void {
  say(`\n${paint("bold", text)}`);
}

/** Does one step and prints one line for it: a mark, what was done, and how long it took. */
export async function step<T>(what: string, work: () => Promise<T>): Promise<T> {
  const begun = performance.now();
  const line = (mark: string): string => {
    const seconds = `${((performance.now() - begun) / 1_000).toFixed(2)} s`;
    return `${mark} ${what.padEnd(58)} ${paint("dim", seconds.padStart(8))}`;
  };
  try {
    const result = await work();
    say(line(paint("green", "✓")));
    return result;
  } catch (reason) {
    say(line(paint("red", "✗")));
    throw reason;
  }
}
