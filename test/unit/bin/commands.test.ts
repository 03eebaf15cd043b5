import type { Command } from "commander";
import { describe, expect, it } from "vitest";
import { epsProgram } from "../../../src/bin/programs/eps.ts";
import { proxyProgram } from "../../../src/bin/programs/proxy.ts";
import { sdProgram } from "../../../src/bin/programs/sd.ts";

type Place = { path: string; command: Command };

function all(command: Command, path = command.name()): Place[] {
  return [
    { path, command },
    ...command.commands.flatMap((child) => all(child, `${path} ${child.name()}`)),
  ];
}

const places = [epsProgram(), sdProgram(), proxyProgram()].flatMap((program) => all(program));

function helpOf(command: Command): string {
  const help: string[] = [];
  command.configureOutput({ writeOut: (text) => void help.push(text) });
  command.outputHelp();
  return help.join("");
}

describe("the programs", () => {
  it("have the commands that are documented", () => {
    const paths = places.map(({ path }) => path);
    for (const path of ["eps check", "eps sd show", "eps ping", "sd check", "proxy run public"]) {
      expect(paths).toContain(path);
    }
  });

  it.each(places)(
    "explain $path, its flags and its exit codes, with examples",
    ({ path, command }) => {
      const help = helpOf(command);
      expect(command.description()).not.toBe("");
      expect(help).toMatch(new RegExp(`\nExamples:\n(  .*\n)*  .*\\b${path}\\b.*\n`));
      expect(help.match(/\nExit codes: 0 /g)).toHaveLength(1);
      for (const { flags, description } of command.options) {
        expect.soft(description, flags).not.toBe("");
      }
    },
  );

  it("guess what was meant", () => {
    const told: string[] = [];
    const eps = epsProgram();
    for (const { command } of all(eps)) {
      command.exitOverride(() => {
        throw new Error("exit");
      });
      command.configureOutput({ writeErr: (text) => void told.push(text) });
    }
    for (const typed of [["pnig"], ["sd", "shwo"], ["check", "--jsno"]]) {
      expect(() => eps.parse(typed, { from: "user" })).toThrow();
    }
    const guesses = told.join("").match(/Did you mean [\w-]+/g);
    expect(guesses).toEqual(["Did you mean ping", "Did you mean show", "Did you mean --json"]);
  });
});
