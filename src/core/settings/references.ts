import { didYouMean, type Notes } from "./notes.ts";
import { child, DEPTH_MAX, type Entry, NODES_MAX, type Path, type Tree } from "./tree.ts";

const REF = "$ref";

/** Replaces every `{$ref: a.b.0}` by what stands at that place of the same file (eps-protocol 1.5). */
export class References {
  readonly #root: Tree;
  readonly #notes: Notes;
  /** References that are being resolved, so that one that leads back to itself is noticed. */
  readonly #open = new Set<Tree>();
  #nodes = 0;

  constructor(root: Tree, notes: Notes) {
    this.#root = root;
    this.#notes = notes;
  }

  resolve(tree: Tree = this.#root, path: Path = []): Tree {
    this.#nodes += 1;
    if (this.#nodes > NODES_MAX || path.length > DEPTH_MAX) {
      // Told once and without a place: every further place would be one of thousands.
      this.#notes.problem("grows too large by its references", this.#root.origin);
      return { kind: "lost", origin: tree.origin };
    }
    const target = targetOf(tree);
    if (target !== undefined) return this.#follow(tree, target, path);
    if (tree.kind === "list") {
      return { ...tree, items: tree.items.map((item, i) => this.resolve(item, [...path, i])) };
    }
    if (tree.kind !== "map") return tree;
    const entries = [...tree.entries].map(([key, entry]): [string, Entry] => [
      key,
      { ...entry, value: this.resolve(entry.value, [...path, key]) },
    ]);
    return { ...tree, entries: new Map(entries) };
  }

  #follow(reference: Tree, target: Tree, path: Path): Tree {
    const lost: Tree = { kind: "lost", origin: reference.origin };
    if (target.kind !== "leaf" || typeof target.value !== "string") {
      this.#notes.problem('expected a place such as "channels.0.settings"', target.origin, path);
      return lost;
    }
    if (this.#open.has(reference)) {
      this.#notes.problem(`$ref ${target.value} leads back to itself`, target.origin, path);
      return lost;
    }
    this.#open.add(reference);
    try {
      let found = this.#root;
      const walked: string[] = [];
      // The original renames `vars` while it reads, and files may refer to the new name.
      for (const step of target.value.replace(/^_vars(?=\.|$)/, "vars").split(".")) {
        const next = child(this.#through(found, path), step);
        if (!next) {
          const keys = found.kind === "map" ? found.entries.keys() : [];
          const inside = walked.length > 0 ? ` in ${walked.join(".")}` : " in this file";
          const what = `$ref ${target.value}: there is no ${JSON.stringify(step)}${inside}`;
          this.#notes.problem(`${what}${didYouMean(step, keys)}`, target.origin, path);
          return lost;
        }
        found = next;
        walked.push(step);
      }
      return this.resolve(found, path);
    } finally {
      this.#open.delete(reference);
    }
  }

  /** A step may lead through a place that is a reference itself. */
  #through(tree: Tree, path: Path): Tree {
    return targetOf(tree) ? this.resolve(tree, path) : tree;
  }
}

function targetOf(tree: Tree): Tree | undefined {
  if (tree.kind !== "map" || tree.entries.size !== 1) return undefined;
  return tree.entries.get(REF)?.value;
}
