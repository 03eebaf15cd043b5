/**
 * A value from a settings file that remembers where it was written, through merging, including and
 * substituting, so that whatever is wrong with it can be shown where it can be repaired. Trees are
 * never changed: every step makes new ones, and may share branches with what it was given.
 */
export type Tree = Leaf | MapTree | ListTree | Lost;

export type Leaf = {
  kind: "leaf";
  value: null | boolean | number | string;
  origin: Origin;
  /** Variables have been put in, so a "$" that is still there means itself. */
  settled?: boolean;
};
export type MapTree = { kind: "map"; entries: ReadonlyMap<string, Entry>; origin: Origin };
export type Entry = { key: Origin; value: Tree };
export type ListTree = { kind: "list"; items: readonly Tree[]; origin: Origin };

/** Stands where a value could not be made. Why has been told, so nobody complains again. */
type Lost = { kind: "lost"; origin: Origin };

export type Origin = {
  file: string;
  line: number;
  column: number;
  /** The variable the value came from, if it is not written in the file. */
  variable?: string;
  /** Typed in without echo, so it is not shown either. */
  secret?: boolean;
};

/** Keys, and the indices of lists. */
export type Path = readonly PropertyKey[];

/** How deep settings may nest, and how large they may grow by references to references. */
export const DEPTH_MAX = 64;
export const NODES_MAX = 100_000;

/**
 * What zod gets to see. Null means absent in settings, so keys with null are left out; a lost value
 * keeps its key, because the key may be wrong as well.
 */
export function plain(tree: Tree): unknown {
  switch (tree.kind) {
    case "leaf":
      return tree.value;
    case "list":
      return tree.items.map(plain);
    case "map":
      return Object.fromEntries(
        [...tree.entries]
          .filter(([, { value }]) => !isNothing(value))
          .map(([key, { value }]) => [key, plain(value)]),
      );
    case "lost":
      return undefined;
  }
}

function isNothing(tree: Tree): boolean {
  return tree.kind === "leaf" && tree.value === null;
}

/** The nodes along a path, outermost first, as far as there are any. */
export function nodesAlong(tree: Tree, path: Path): Tree[] {
  const nodes = [tree];
  for (const step of path) {
    const next = child(nodes.at(-1) as Tree, step);
    if (!next) break;
    nodes.push(next);
  }
  return nodes;
}

export function child(tree: Tree, step: PropertyKey): Tree | undefined {
  if (tree.kind === "map") return tree.entries.get(String(step))?.value;
  if (tree.kind === "list") return tree.items[Number(step)];
  return undefined;
}

/** The same tree with every leaf replaced. `change` is told the path, for its complaints. */
export function mapLeaves(
  tree: Tree,
  change: (leaf: Leaf, path: Path) => Tree,
  path: Path = [],
): Tree {
  switch (tree.kind) {
    case "leaf":
      return change(tree, path);
    case "list":
      return { ...tree, items: tree.items.map((item, i) => mapLeaves(item, change, [...path, i])) };
    case "map": {
      const entries = [...tree.entries].map(([key, entry]): [string, Entry] => [
        key,
        { ...entry, value: mapLeaves(entry.value, change, [...path, key]) },
      ]);
      return { ...tree, entries: new Map(entries) };
    }
    case "lost":
      return tree;
  }
}

/** In words a person who has never heard of YAML understands. */
export function describe(value: unknown): string {
  if (value === undefined) return "nothing";
  if (value === null) return "nothing (null)";
  if (Array.isArray(value)) return value.length > 0 ? "a list" : "an empty list";
  if (typeof value === "object") return "a map";
  if (typeof value === "boolean") return `the boolean ${value}`;
  if (typeof value === "number") return `the number ${value}`;
  const shown = String(value);
  return JSON.stringify(shown.length > 80 ? `${shown.slice(0, 80)}…` : shown);
}
