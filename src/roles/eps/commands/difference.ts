import { isDeepStrictEqual } from "node:util";
import { type Entry, emptyEntry } from "../../../directory/entry.ts";
import { linesOf, SECTIONS, type Section } from "./describe.ts";

/** What one section of one operator is now, and what it would be. */
export type Difference = {
  operator: string;
  section: Section;
  /** Is the operator new, or gone with all it has? */
  operator_is: "new" | "changed" | "gone";
  before: unknown;
  after: unknown;
  /** What is no longer said (`-`) and what is new (`+`), in the words of `linesOf`. */
  lines: string[];
};

type Entries = ReadonlyMap<string, Entry>;

/** Every section that differs, by operator; records that say what is known already make none. Pure. */
export function differences(before: Entries, after: Entries): Difference[] {
  const names = [...new Set([...before.keys(), ...after.keys()])].sort();
  return names.flatMap((operator) => {
    const old = before.get(operator);
    const next = after.get(operator);
    const operator_is = !old ? "new" : !next ? "gone" : "changed";
    const [from, to] = [old ?? emptyEntry(operator), next ?? emptyEntry(operator)];
    return SECTIONS.filter((section) => !isDeepStrictEqual(from[section], to[section])).map(
      (section): Difference => ({
        operator,
        section,
        operator_is,
        before: from[section],
        after: to[section],
        lines: changedLines(linesOf(section, from), linesOf(section, to)),
      }),
    );
  });
}

function changedLines(before: string[], after: string[]): string[] {
  const gone = without(before, after).map((line) => `- ${line}`);
  const added = without(after, before).map((line) => `+ ${line}`);
  const lines = [...gone, ...added];
  return lines.length > 0 ? lines : ["  the same in another order"];
}

/** A line that is there twice and then once is gone once. */
function without(lines: string[], others: string[]): string[] {
  const rest = [...others];
  return lines.filter((line) => {
    const index = rest.indexOf(line);
    if (index >= 0) rest.splice(index, 1);
    return index < 0;
  });
}
