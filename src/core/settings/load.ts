import { resolve } from "node:path";
import type * as z from "zod";
import { Fault } from "../fault.ts";
import { check } from "./check.ts";
import { findFiles } from "./find-files.ts";
import { merge } from "./merge.ts";
import { Notes } from "./notes.ts";
import { parseFile } from "./parse-file.ts";
import { Prompts } from "./prompts.ts";
import { Files } from "./read-file.ts";
import type { Tree } from "./tree.ts";

/**
 * The settings of a program, frozen: every file that the environment variable names is read and
 * merged, and the sum is checked (eps-protocol 1.4, 1.5).
 *
 * Throws one `settings` fault that lists everything that is wrong, each with the place where it can
 * be repaired. Warnings are keys nobody knows; whoever calls has the log to put them in.
 */
export async function loadSettings<S extends z.ZodType>(
  schema: S,
  variable: string,
  env: NodeJS.ProcessEnv = process.env,
): Promise<{ settings: z.output<S>; warnings: string[] }> {
  const value = env[variable] ?? "";
  if (value.replaceAll(":", "") === "") throw new Fault("settings", howToSet(variable));
  const notes = new Notes();
  const tree = await readAll(value, { env, notes });
  const settings = tree && check(schema, tree, notes);
  if (notes.problems.length > 0) throw new Fault("settings", report(`${variable}=${value}`, notes));
  if (!tree) {
    throw new Fault("settings", `${variable}=${value} holds no settings, in no .yml or .json file`);
  }
  return { settings: frozen(settings as z.output<S>), warnings: notes.warnings };
}

/**
 * One file that is written in the words of another program, whatever it is called: nothing in it refers
 * to anything else, and a "$" is a "$". `flag` is how the user named it.
 */
export async function loadFile<S extends z.ZodType>(
  schema: S,
  file: string,
  flag: string,
): Promise<{ settings: z.output<S>; warnings: string[] }> {
  const notes = new Notes();
  const tree = await parseFile(resolve(file), notes);
  const settings = tree && check(schema, tree, notes);
  if (notes.problems.length > 0) throw new Fault("settings", report(`${flag} ${file}`, notes));
  return { settings: frozen(settings as z.output<S>), warnings: notes.warnings };
}

async function readAll(
  value: string,
  { env, notes }: { env: NodeJS.ProcessEnv; notes: Notes },
): Promise<Tree | undefined> {
  using prompts = new Prompts();
  const files = new Files({ env, prompts, notes });
  let sum: Tree | undefined;
  for (const file of await findFiles(value, notes)) {
    const tree = await files.read(file);
    if (tree) sum = merge(sum ?? { ...tree, entries: new Map() }, tree);
  }
  return sum;
}

function howToSet(variable: string): string {
  const [program, role, command] = EXAMPLES[variable] ?? ["eps", "hd-1", "server run"];
  return (
    `${variable} is not set. It names the folder(s) with the settings, separated by ":", ` +
    `for example:\n  ${variable}=settings/dev/roles/${role} ${program} ${command}`
  );
}

const EXAMPLES: Record<string, [program: string, role: string, command: string]> = {
  EPS_SETTINGS: ["eps", "hd-1", "server run"],
  SD_SETTINGS: ["sd", "sd-1", "run"],
  PROXY_SETTINGS: ["proxy", "public-proxy-1", "run public"],
};

function report(source: string, { problems }: Notes): string {
  const what = problems.length === 1 ? "a problem" : `${problems.length} problems`;
  const lines = problems.map((problem) => `\n  ${problem}`);
  return `${what} in the settings (${source}):${lines.join("")}`;
}

function frozen<T>(value: T): T {
  if (typeof value === "object" && value !== null) {
    for (const each of Object.values(value)) frozen(each);
    Object.freeze(value);
  }
  return value;
}
