import { didYouMean, type Notes } from "./notes.ts";
import type { Prompts } from "./prompts.ts";
import {
  describe,
  type Entry,
  type Leaf,
  type MapTree,
  mapLeaves,
  type Origin,
  type Path,
  plain,
  type Tree,
} from "./tree.ts";

export type Variables = ReadonlyMap<string, Tree>;

const TYPES = ["string", "int", "float", "any"];
const SOURCES = ["env", "literal", "prompt"];
const KEYS = ["type", "source", "variable", "value", "sensitive"];

type Surroundings = { env: NodeJS.ProcessEnv; prompts: Prompts; notes: Notes };

/**
 * The `vars` of one file, in the order in which they are written (eps-protocol 1.5). A variable that
 * cannot be had is told once, here, and is lost wherever it is used.
 */
export async function readVariables(vars: Tree, around: Surroundings): Promise<Map<string, Tree>> {
  const variables = new Map<string, Tree>();
  if (vars.kind !== "map") {
    if (vars.kind !== "leaf" || vars.value !== null) {
      around.notes.problem("expected a map of variables", vars.origin, ["vars"]);
    }
    return variables;
  }
  for (const [name, entry] of vars.entries) {
    variables.set(name, await new Declaration(name, entry, around).value());
  }
  return variables;
}

/** One variable: what kind of value it has, and where that comes from. */
class Declaration {
  readonly #name: string;
  readonly #entry: Entry;
  readonly #path: Path;
  readonly #around: Surroundings;

  constructor(name: string, entry: Entry, around: Surroundings) {
    this.#name = name;
    this.#entry = entry;
    this.#path = ["vars", name];
    this.#around = around;
  }

  async value(): Promise<Tree> {
    const declared = this.#entry.value;
    const lost: Tree = { kind: "lost", origin: declared.origin };
    if (declared.kind !== "map") {
      return this.#complain(`expected a map with type and source, found ${this.#shown(declared)}`);
    }
    for (const [key, { key: origin }] of declared.entries) {
      if (KEYS.includes(key)) continue;
      const hint = didYouMean(key, KEYS);
      this.#around.notes.warn(`is unknown and ignored${hint}`, origin, [...this.#path, key]);
    }
    const type = this.#choice(declared, "type", TYPES);
    const source = this.#choice(declared, "source", SOURCES);
    if (!type || !source) return lost;
    const found =
      source === "env"
        ? this.#fromEnvironment(declared)
        : source === "literal"
          ? this.#literal(declared)
          : await this.#prompted(declared);
    return found && found.kind !== "lost" ? this.#typed(type, found) : lost;
  }

  #fromEnvironment(declared: MapTree): Tree | undefined {
    const variable = this.#text(declared, "variable");
    if (variable === undefined) return undefined;
    const value = this.#around.env[variable.value];
    if (value === undefined) {
      const what = `the environment variable ${variable.value} is not set`;
      this.#around.notes.problem(what, variable.origin, [...this.#path, "variable"]);
      return undefined;
    }
    return { kind: "leaf", value, origin: { ...variable.origin, variable: variable.value } };
  }

  #literal(declared: MapTree): Tree | undefined {
    const value = declared.entries.get("value")?.value;
    if (value && (value.kind !== "leaf" || value.value !== null)) return value;
    return this.#complain("value is required, because the source is literal");
  }

  async #prompted(declared: MapTree): Promise<Tree | undefined> {
    const sensitive = declared.entries.get("sensitive")?.value;
    const hidden = sensitive?.kind === "leaf" ? (sensitive.value ?? false) : false;
    if (typeof hidden !== "boolean") {
      const what = `expected true or false, found ${describe(hidden)}`;
      this.#around.notes.problem(what, sensitive?.origin, [...this.#path, "sensitive"]);
      return undefined;
    }
    const value = await this.#around.prompts.ask(`${this.#name}: `, { hidden });
    if (value === undefined) {
      return this.#complain("was asked for on standard input, which ended without an answer");
    }
    const origin = { ...this.#entry.key, variable: this.#name, secret: hidden };
    return { kind: "leaf", value, origin };
  }

  #typed(type: string, found: Tree): Tree {
    const complain = (expected: string): Tree => {
      const from = found.origin.variable ? ` in ${found.origin.variable}` : "";
      return this.#complain(
        `expected ${expected}${from}, found ${this.#shown(found)}`,
        found.origin,
      );
    };
    if (type === "any") return found;
    if (found.kind !== "leaf") return complain(TYPE_WORDS[type] ?? type);
    const { value } = found;
    if (type === "string") return typeof value === "string" ? found : complain("a text");
    const digits = type === "int" ? /^[-+]?\d+$/ : /^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$/;
    const number = typeof value === "string" && digits.test(value) ? Number(value) : value;
    const fits = typeof number === "number" && (type === "float" || Number.isInteger(number));
    return fits ? { ...found, value: number } : complain(TYPE_WORDS[type] ?? type);
  }

  #choice(declared: MapTree, key: string, choices: string[]): string | undefined {
    const chosen = this.#text(declared, key);
    if (!chosen || choices.includes(chosen.value)) return chosen?.value;
    const what = `expected one of ${choices.join(", ")}, found ${describe(chosen.value)}`;
    const hint = didYouMean(chosen.value, choices);
    this.#around.notes.problem(`${what}${hint}`, chosen.origin, [...this.#path, key]);
    return undefined;
  }

  #text(declared: MapTree, key: string): { value: string; origin: Origin } | undefined {
    const tree = declared.entries.get(key)?.value;
    if (tree?.kind === "leaf" && typeof tree.value === "string") {
      return { value: tree.value, origin: tree.origin };
    }
    const missing = !tree || (tree.kind === "leaf" && tree.value === null);
    const what = missing ? "is required" : `expected a text, found ${this.#shown(tree)}`;
    this.#around.notes.problem(what, tree?.origin ?? this.#entry.key, [...this.#path, key]);
    return undefined;
  }

  #complain(what: string, origin: Origin = this.#entry.key): Tree {
    this.#around.notes.problem(what, origin, this.#path);
    return { kind: "lost", origin };
  }

  #shown(tree: Tree): string {
    if (tree.origin.secret || isSecret(this.#path)) return "something else";
    return describe(plain(tree));
  }
}

const TYPE_WORDS: Record<string, string> = {
  string: "a text",
  int: "a whole number",
  float: "a number",
};

/** Whether a value at this place must not appear in a message. */
export function isSecret(path: Path): boolean {
  return path.some((key) => /password|passphrase|secret|^tokens?$/i.test(String(key)));
}

const NAME = "[a-zA-Z][a-zA-Z0-9_]*";
const WHOLE = new RegExp(`^\\$(${NAME})$`);
const WITHIN = new RegExp(`\\$(?:\\$|(${NAME}))`, "g");

/**
 * Puts variables into all texts. A text that is nothing but `$NAME` becomes the variable's value of
 * whatever kind; `$NAME` within a text must be something that can be written there; `$$` is a dollar.
 * Values of variables, and files that are included, come ready and are left as they are.
 */
export function substitute(tree: Tree, variables: Variables, notes: Notes): Tree {
  return mapLeaves(tree, (leaf, path) => {
    if (leaf.settled || typeof leaf.value !== "string") return leaf;
    return substituted(leaf, leaf.value, path, { variables, notes });
  });
}

type Scope = { variables: Variables; notes: Notes };

function substituted(leaf: Leaf, text: string, path: Path, scope: Scope): Tree {
  const whole = WHOLE.exec(text)?.[1];
  if (whole !== undefined) {
    const value = lookUp(whole, leaf, path, scope);
    return value ? settled(value, leaf.origin) : { kind: "lost", origin: leaf.origin };
  }
  let lost = false;
  let origin = leaf.origin;
  const value = text.replace(WITHIN, (_, name: string | undefined) => {
    if (name === undefined) return "$";
    const found = lookUp(name, leaf, path, scope);
    if (found?.origin.secret) origin = { ...origin, secret: true };
    if (found?.kind === "leaf" && ["string", "number"].includes(typeof found.value)) {
      return String(found.value);
    }
    if (found && found.kind !== "lost") {
      scope.notes.problem(`$${name} is neither text nor number`, leaf.origin, path);
    }
    lost = true;
    return "";
  });
  return lost ? { kind: "lost", origin } : { ...leaf, value, origin, settled: true };
}

function lookUp(
  name: string,
  leaf: Leaf,
  path: Path,
  { variables, notes }: Scope,
): Tree | undefined {
  const value = variables.get(name);
  if (value) return value;
  // A password with a dollar in it looks like a variable; its tail is not for the log.
  const what = isSecret(path)
    ? "names a variable that is not defined in the vars of this file"
    : `$${name} is not defined in the vars of this file`;
  const hint = isSecret(path) ? "" : didYouMean(name, variables.keys());
  notes.problem(
    `${what}${hint || ' (a "$" that means itself is written "$$")'}`,
    leaf.origin,
    path,
  );
  return undefined;
}

/** What came from outside the files is shown where it is used; a literal where it is written. */
function settled(value: Tree, used: Origin): Tree {
  return mapLeaves(value, (leaf) => {
    const { variable, secret } = leaf.origin;
    if (variable === undefined) return { ...leaf, settled: true };
    const origin: Origin = { ...used, variable, ...(secret ? { secret } : {}) };
    return { ...leaf, origin, settled: true };
  });
}
