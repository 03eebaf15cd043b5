import { explain, Fault } from "./fault.ts";
import { printJson, printLines, type Style, styled } from "./terminal.ts";

/** `note`: as intended, if you intended it. `warning`: works, but not for long or not for everybody. */
type Severity = "ok" | "note" | "warning" | "problem";

/** One thing that a check found out. */
export type Finding = {
  severity: Severity;
  /** What was looked at: `certificates`, `directory` … */
  area: string;
  what: string;
  /** What to do about it, in a sentence. */
  fix?: string;
};

/** Findings as they are made; a check that takes long shows what it has. */
export type Findings = AsyncIterable<Finding>;

/** The findings of one area, in few words. */
export function findingsOf(area: string) {
  const make =
    (severity: Severity) =>
    (what: string, fix?: string): Finding => ({ severity, area, what, ...(fix && { fix }) });
  return {
    ok: (what: string) => make("ok")(what),
    note: make("note"),
    warning: make("warning"),
    problem: make("problem"),
  };
}

/** Tries something: a finding of what it says if it works, else a problem with the fault's words. */
export async function attempt(
  area: string,
  what: string,
  fix: string,
  work: () => Promise<unknown>,
): Promise<Finding> {
  try {
    await work();
    return { severity: "ok", area, what };
  } catch (reason) {
    return { severity: "problem", area, what: explain(Fault.from(reason)), fix };
  }
}

/** Prints findings as they come, or all as JSON. Tells whether there is a problem. */
export async function printFindings(
  findings: Findings,
  { json }: { json: boolean },
): Promise<boolean> {
  const all: Finding[] = [];
  for await (const finding of findings) {
    all.push(finding);
    if (!json) printLines(findingLines(finding));
  }
  if (json) printJson(all);
  else printLines(["", summary(all)]);
  return all.some(({ severity }) => severity === "problem");
}

function findingLines({ severity, area, what, fix }: Finding): string[] {
  const label = styled(STYLES[severity], severity.padEnd(LABEL_WIDTH));
  const indent = `\n${" ".repeat(LABEL_WIDTH + AREA_WIDTH)}`;
  const lines = [`${label}${area.padEnd(AREA_WIDTH)}${what.replaceAll("\n", indent)}`];
  if (fix) lines.push(`${" ".repeat(LABEL_WIDTH + AREA_WIDTH)}→ ${fix}`);
  return lines;
}

function summary(all: readonly Finding[]): string {
  const count = (severity: Severity): number =>
    all.filter((finding) => finding.severity === severity).length;
  const told = (["problem", "warning", "note", "ok"] as const)
    .map((severity) => ({ severity, number: count(severity) }))
    .filter(({ number }) => number > 0)
    .map(({ severity, number }) =>
      severity === "ok" ? `${number} ok` : `${number} ${severity}${number > 1 ? "s" : ""}`,
    );
  return told.join(", ");
}

const LABEL_WIDTH = "problem  ".length;
const AREA_WIDTH = "certificates  ".length;
const STYLES: Record<Severity, Style> = {
  ok: "green",
  note: "cyan",
  warning: "yellow",
  problem: "red",
};
