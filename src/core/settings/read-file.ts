import { dirname } from "node:path";
import { Includes, type ReadFile } from "./includes.ts";
import { type Notes, shownPath } from "./notes.ts";
import { parseFile } from "./parse-file.ts";
import type { Prompts } from "./prompts.ts";
import { References } from "./references.ts";
import type { Entry, MapTree, Tree } from "./tree.ts";
import { readVariables, substitute } from "./variables.ts";

const INCLUDES_DEEP_MAX = 16;
const FILES_MAX = 1_000;

type Dependencies = { env: NodeJS.ProcessEnv; prompts: Prompts; notes: Notes };

/**
 * Reads settings files one by one, each completely: includes, then references, then variables
 * (eps-protocol 1.5). A file's variables end with the file, whoever includes it.
 */
export class Files {
  readonly #dependencies: Dependencies;
  readonly #notes: Notes;
  #read = 0;

  constructor(dependencies: Dependencies) {
    this.#dependencies = dependencies;
    this.#notes = dependencies.notes;
  }

  /** A file that the environment names: it must be a map, and an empty one changes nothing. */
  async read(file: string): Promise<MapTree | undefined> {
    const tree = await this.#complete(file, []);
    if (!tree || tree.kind === "lost") return undefined;
    if (tree.kind === "map") return tree;
    if (tree.kind === "list" || tree.value !== null) {
      this.#notes.problem("expected a map of settings", tree.origin);
      this.#notes.incomplete = true;
    }
    return undefined;
  }

  /** `trail` is the files that led here by including one another. */
  async #complete(file: string, trail: readonly string[]): Promise<Tree | undefined> {
    this.#read += 1;
    const parsed = await parseFile(file, this.#notes);
    if (!parsed) return undefined;
    const read: ReadFile = async (next, origin, path) => {
      const chain = [...trail, file, next];
      const again = chain.indexOf(next);
      if (again < chain.length - 1) {
        const circle = chain.slice(again).map(shownPath).join(" → ");
        this.#notes.problem(`includes itself: ${circle}`, origin.origin, path);
      } else if (trail.length >= INCLUDES_DEEP_MAX || this.#read >= FILES_MAX) {
        const limit = `${INCLUDES_DEEP_MAX} levels or ${FILES_MAX} files`;
        this.#notes.problem(`includes more than ${limit}`, origin.origin, path);
      } else {
        return this.#complete(next, [...trail, file]);
      }
      return undefined;
    };
    const included = await new Includes(file, { read, notes: this.#notes }).resolve(parsed);
    const { vars, rest } = withoutVars(new References(included, this.#notes).resolve());
    const variables = vars ? await readVariables(vars.value, this.#dependencies) : new Map();
    for (const [name, value] of whereabouts(file)) variables.set(name, value);
    return substitute(rest, variables, this.#notes);
  }
}

function withoutVars(tree: Tree): { vars?: Entry | undefined; rest: Tree } {
  if (tree.kind !== "map") return { rest: tree };
  const entries = new Map(tree.entries);
  const vars = entries.get("vars");
  entries.delete("vars");
  return { vars, rest: { ...tree, entries } };
}

/**
 * The variables every file has. The leading "/" is missing because the original reads from a file
 * system whose root is "", and existing files make up for it by writing "/$DIR/certs".
 */
function whereabouts(file: string): Array<[string, Tree]> {
  const origin = { file, line: 1, column: 1 };
  const leaf = (path: string): Tree => ({ kind: "leaf", value: path.replace(/^\//, ""), origin });
  return [
    ["PATH", leaf(file)],
    ["DIR", leaf(dirname(file))],
  ];
}
