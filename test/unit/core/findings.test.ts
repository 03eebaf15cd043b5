import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Fault } from "../../../src/core/fault.ts";
import { attempt, type Finding, findingsOf, printFindings } from "../../../src/core/findings.ts";

let printed = "";
beforeEach(() => {
  printed = "";
  vi.spyOn(process.stdout, "write").mockImplementation((text) => {
    printed += String(text);
    return true;
  });
});
afterEach(() => vi.restoreAllMocks());

const { ok, note, warning, problem } = findingsOf("store");
async function* all(...findings: Finding[]) {
  yield* findings;
}

describe("findings", () => {
  it("are printed with their fix below them and counted at the end", async () => {
    const found = await printFindings(
      all(ok("it is there"), note("it is empty"), problem("line one\nline two", "Mend it.")),
      { json: false },
    );
    expect(found).toBe(true);
    expect(printed.split("\n")).toEqual([
      "ok       store         it is there",
      "note     store         it is empty",
      "problem  store         line one",
      "                       line two",
      "                       → Mend it.",
      "",
      "1 problem, 1 note, 1 ok",
      "",
    ]);
  });

  it("are no problem as long as nothing is worse than a warning", async () => {
    expect(await printFindings(all(warning("soon", "Hurry."), ok("fine")), { json: true })).toBe(
      false,
    );
    expect(JSON.parse(printed)).toEqual([
      { severity: "warning", area: "store", what: "soon", fix: "Hurry." },
      { severity: "ok", area: "store", what: "fine" },
    ]);
  });

  it("come from attempts, in the words of the fault", async () => {
    expect(await attempt("a", "works", "Mend it.", async () => 1)).toEqual({
      severity: "ok",
      area: "a",
      what: "works",
    });
    const failing = async () => {
      throw new Fault("settings", "no such file", { cause: new Error("ENOENT") });
    };
    expect(await attempt("a", "works", "Mend it.", failing)).toEqual({
      severity: "problem",
      area: "a",
      what: "no such file: ENOENT",
      fix: "Mend it.",
    });
  });
});
