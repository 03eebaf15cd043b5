import { dirname, isAbsolute, resolve } from "node:path";
import { merge } from "./merge.ts";
import { didYouMean, type Notes } from "./notes.ts";
import type { Entry, ListTree, MapTree, Path, Tree } from "./tree.ts";

const INCLUDE = "$include";

/** Reads another file completely, or says in the notes why it cannot. */
export type ReadFile = (file: string, included: Tree, path: Path) => Promise<Tree | undefined>;

/**
 * Puts the files that `$include` names where it names them (eps-protocol 1.5). In a map they are
 * merged into what is written there; a map that is nothing but `$include` may become anything.
 */
export class Includes {
  readonly #file: string;
  readonly #read: ReadFile;
  readonly #notes: Notes;

  constructor(file: string, { read, notes }: { read: ReadFile; notes: Notes }) {
    this.#file = file;
    this.#read = read;
    this.#notes = notes;
  }

  async resolve(tree: Tree, path: Path = []): Promise<Tree> {
    if (tree.kind === "list") return this.#list(tree, path);
    if (tree.kind === "map") return this.#map(tree, path);
    return tree;
  }

  /** A list that is included as an item of a list becomes part of it. */
  async #list(list: ListTree, path: Path): Promise<Tree> {
    const items: Tree[] = [];
    for (const [index, item] of list.items.entries()) {
      const resolved = await this.resolve(item, [...path, index]);
      const spliced = item.kind === "map" && resolved.kind === "list";
      items.push(...(spliced ? resolved.items : [resolved]));
    }
    return { ...list, items };
  }

  async #map(map: MapTree, path: Path): Promise<Tree> {
    const entries = new Map<string, Entry>();
    for (const [key, entry] of map.entries) {
      if (key === INCLUDE) continue;
      entries.set(key, { ...entry, value: await this.resolve(entry.value, [...path, key]) });
    }
    const own: MapTree = { ...map, entries };
    const named = map.entries.get(INCLUDE);
    if (!named) return own;
    const included = await this.#included(named.value, path);
    const sum = included.reduce<Tree | undefined>((a, b) => (a ? merge(a, b) : b), undefined);
    if (!sum) return entries.size > 0 ? own : { kind: "lost", origin: map.origin };
    if (sum.kind === "map") return merge(own, sum);
    if (entries.size === 0) return sum;
    this.#notes.problem("includes something that is not a map, beside other keys", named.key, path);
    return own;
  }

  async #included(names: Tree, path: Path): Promise<Tree[]> {
    const included: Tree[] = [];
    for (const name of names.kind === "list" ? names.items : [names]) {
      const file = this.#find(name, [...path, INCLUDE]);
      const tree = file === undefined ? undefined : await this.#read(file, name, path);
      if (tree) included.push(tree);
      else this.#notes.incomplete = true;
    }
    return included;
  }

  #find(name: Tree, path: Path): string | undefined {
    if (name.kind !== "leaf" || typeof name.value !== "string") {
      this.#notes.problem("expected the name of a file, or a list of names", name.origin, path);
    } else if (isAbsolute(name.value)) {
      this.#notes.problem(`${name.value} must be relative to this file`, name.origin, path);
    } else if (!/\.(yml|json)$/.test(name.value)) {
      const hint = didYouMean(name.value, [name.value.replace(/\.ya?ml$|$/, ".yml")]);
      this.#notes.problem(`${name.value} must end in .yml or .json${hint}`, name.origin, path);
    } else {
      return resolve(dirname(this.#file), name.value);
    }
    return undefined;
  }
}
