import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { completionScript, type Shell } from "../../../src/bin/completion.ts";
import { epsProgram } from "../../../src/bin/programs/eps.ts";
import { describeWith } from "../../support/tools.ts";

let folder: string;
const file = (shell: Shell): string => join(folder, `eps.${shell}`);

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "completion-"));
  for (const shell of ["bash", "zsh", "fish"] as const) {
    writeFileSync(file(shell), completionScript(epsProgram(), shell));
  }
});
afterAll(() => rmSync(folder, { recursive: true }));

const run = (shell: Shell, script: string, ...more: string[]): string[] =>
  execFileSync(shell, [...more, "-c", script], { encoding: "utf8" })
    .split("\n")
    .filter(Boolean);

describe("completion in bash", () => {
  /** What bash offers when Tab is pressed behind these words. */
  const offered = (...words: string[]): string[] =>
    run(
      "bash",
      `source ${file("bash")}
      COMP_WORDS=(${words.map((word) => `'${word}'`).join(" ")})
      COMP_CWORD=${words.length - 1}
      $(complete -p eps | sed 's/.*-F \\([^ ]*\\).*/\\1/')
      printf '%s\\n' "\${COMPREPLY[@]}"`,
      "--norc",
    );

  it("knows the commands at every place", () => {
    expect(offered("eps", "p")).toEqual(["ping", "peers"]);
    expect(offered("eps", "sd", "sh")).toEqual(["show"]);
    expect(offered("eps", "server", "")).toEqual(["run", "--help"]);
    expect(offered("eps", "s", "r")).toEqual(["run"]);
    expect(offered("eps", "completion", "z")).toEqual(["zsh"]);
  });

  it("knows the flags, whatever stands before them", () => {
    expect(offered("eps", "--l")).toEqual(["--level"]);
    expect(offered("eps", "--level", "debug", "sd", "get-records", "--a")).toEqual(["--after"]);
    expect(offered("eps", "ping", "hd-2", "--c")).toEqual(["--count"]);
  });

  it("leaves the rest to the names of files", () => {
    expect(offered("eps", "sd", "diff", "nothing-of-ours")).toEqual([]);
    expect(run("bash", `source ${file("bash")}; complete -p eps`)[0]).toContain("-o default");
  });
});

describeWith(["zsh"], "completion in zsh", () => {
  it("is a script that zsh takes", () => {
    const script = `autoload -Uz compinit && compinit -u -D && source ${file("zsh")} && print $_comps[eps]`;
    expect(run("zsh", script, "-f")).toEqual(["_eps_complete"]);
  });
});

describeWith(["fish"], "completion in fish", () => {
  const offered = (line: string): string[] =>
    run("fish", `source ${file("fish")}; complete -C '${line}'`, "--no-config");

  it("knows the commands and what they are for", () => {
    expect(offered("eps sd sh")[0]).toMatch(/^show\tprint one operator as a page/);
    expect(offered("eps completion z")[0]).toMatch(/^zsh/);
    expect(offered("eps check --js")[0]).toMatch(/^--json\t/);
  });
});
