import type * as z from "zod";
import { didYouMean, type Notes, nearest } from "./notes.ts";
import {
  describe,
  type Entry,
  nodesAlong,
  type Origin,
  type Path,
  plain,
  type Tree,
} from "./tree.ts";
import { isSecret } from "./variables.ts";

type Unknown = { parent: Path; name: string; known: readonly string[] };

/**
 * What the schema makes of a tree. Keys it does not know become warnings and are left out, because
 * files written for the original carry some that the original ignores too; anything else that is
 * wrong becomes a problem, and then there are no settings.
 */
export function check<S extends z.ZodType>(
  schema: S,
  tree: Tree,
  notes: Notes,
): z.output<S> | undefined {
  const unknown: Unknown[] = [];
  let known = tree;
  for (;;) {
    const result = schema.safeParse(plain(known), { error: wording(unknown) });
    if (result.success) {
      for (const each of unknown) warn(each, tree, notes);
      return result.data;
    }
    const strangers = result.error.issues.filter((issue) => issue.code === "unrecognized_keys");
    if (strangers.length === 0) {
      for (const issue of result.error.issues) complain(issue, tree, { unknown, notes });
      return undefined;
    }
    for (const { path, keys } of strangers) known = without(known, path, keys);
  }
}

/** Says what a schema expected. It also notes the keys a map may have, which only the schema knows. */
function wording(unknown: Unknown[]): z.core.$ZodErrorMap {
  return (issue) => {
    const path = issue.path ?? [];
    if (issue.code === "unrecognized_keys") {
      const known = keysOf(issue.inst);
      unknown.push(...issue.keys.map((name) => ({ parent: path, name, known })));
    } else if (issue.code === "invalid_union" && isMap(issue.input)) {
      // Which kind of map this should be is itself misspelt, so zod has looked at no other key.
      const known = (issue.inst as z.ZodDiscriminatedUnion)._zod.def.options.flatMap(keysOf);
      const names = Object.keys(issue.input).filter((name) => !known.includes(name));
      unknown.push(...names.map((name) => ({ parent: path.slice(0, -1), name, known })));
    }
    return expectation(issue);
  };
}

function keysOf(schema: unknown): string[] {
  return Object.keys((schema as Partial<z.ZodObject> | undefined)?._zod?.def.shape ?? {});
}

function isMap(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

const KINDS: Record<string, string> = {
  string: "a text",
  number: "a number",
  int: "a whole number",
  boolean: "true or false",
  array: "a list",
  object: "a map",
};

function expectation(issue: z.core.$ZodRawIssue): string | undefined {
  const { input } = issue;
  switch (issue.code) {
    case "invalid_type":
      return `expected ${KINDS[issue.expected] ?? issue.expected}`;
    case "invalid_value":
      return oneOf(issue.values.map(String), input);
    case "invalid_union": {
      const { options = [], discriminator = "" } = issue as { options?: unknown[] } & typeof issue;
      return oneOf(options.map(String), isMap(input) ? input[discriminator] : input);
    }
    default:
      return undefined;
  }
}

function oneOf(choices: string[], found: unknown): string {
  const hint = typeof found === "string" ? didYouMean(found, choices) : "";
  return `expected ${choices.length > 1 ? "one of " : ""}${choices.join(", ")}${hint}`;
}

function complain(
  issue: z.core.$ZodIssue,
  tree: Tree,
  { unknown, notes }: { unknown: Unknown[]; notes: Notes },
): void {
  const { path } = issue;
  const nodes = nodesAlong(tree, path);
  const nearestNode = nodes.at(-1) ?? tree;
  if (nearestNode.kind === "lost") return;
  const there = nodes.length > path.length ? nearestNode : undefined;
  if (there && !(there.kind === "leaf" && there.value === null && path.length > 0)) {
    notes.problem(contradiction(issue.message, there, path), there.origin, path);
    return;
  }
  // A file that could not be read may hold what is missing here.
  if (notes.incomplete) return;
  const what = issue.message.startsWith("expected") ? "is required" : issue.message;
  const typo = typoOf(path, unknown);
  if (typo === undefined) {
    const parent = there ? (nodes.at(-2) ?? tree) : nearestNode;
    notes.problem(what, parent.origin, path);
  } else {
    const here = `${what}, but there is ${JSON.stringify(typo.name)}`;
    const hint = `(did you mean ${JSON.stringify(String(path.at(-1)))}?)`;
    notes.problem(`${here} ${hint}`, keyOrigin(tree, typo), path);
  }
}

/** What was expected and what was found instead, unless that is nobody's business. */
function contradiction(message: string, there: Tree, path: Path): string {
  if (!message.startsWith("expected")) return message;
  const [, expected = message, hint = ""] = /^(.*?)( \(did you mean .*\))?$/s.exec(message) ?? [];
  if (there.origin.secret || isSecret(path)) {
    return `${expected}, found something else (not shown, because it is secret)`;
  }
  const value = plain(there);
  const from = there.origin.variable ? ` (from ${there.origin.variable})` : "";
  const unquoted = expected === "expected a text" && ["boolean", "number"].includes(typeof value);
  const quote = unquoted ? ' (a text like this needs quotes: "…")' : "";
  return `${expected}, found ${describe(value)}${from}${quote}${hint}`;
}

/** The unknown key beside a missing one that looks most like it. */
function typoOf(path: Path, unknown: Unknown[]): Unknown | undefined {
  const beside = unknown.filter((each) => samePath(each.parent, path.slice(0, -1)));
  const match = nearest(
    String(path.at(-1)),
    beside.map((each) => each.name),
  );
  return beside.find((each) => each.name === match);
}

function warn({ parent, name, known }: Unknown, tree: Tree, notes: Notes): void {
  const hint = didYouMean(name, known);
  const path = [...parent, name];
  notes.warn(`is unknown and ignored${hint}`, keyOrigin(tree, { parent, name }), path);
}

function keyOrigin(tree: Tree, { parent, name }: { parent: Path; name: string }): Origin {
  const map = nodesAlong(tree, parent).at(-1) ?? tree;
  return (map.kind === "map" && map.entries.get(name)?.key) || map.origin;
}

function without(tree: Tree, path: Path, keys: readonly string[]): Tree {
  const [step, ...rest] = path;
  if (tree.kind === "list") {
    const items = tree.items.map((item, i) => (i === step ? without(item, rest, keys) : item));
    return { ...tree, items };
  }
  if (tree.kind !== "map") return tree;
  const entries = new Map<string, Entry>(tree.entries);
  if (step === undefined) {
    for (const key of keys) entries.delete(key);
  } else {
    const entry = entries.get(String(step));
    if (entry) entries.set(String(step), { ...entry, value: without(entry.value, rest, keys) });
  }
  return { ...tree, entries };
}

function samePath(a: Path, b: Path): boolean {
  return a.length === b.length && a.every((step, i) => step === b[i]);
}
