import type { Entry, MapTree, Tree } from "./tree.ts";

/**
 * What `earlier` says, as amended by `later` (eps-protocol 1.4): maps mix, lists add up, anything
 * else is replaced, and null changes nothing. A later key that ends in "!" replaces whatever is there.
 */
export function merge(earlier: Tree, later: Tree): Tree {
  if (later.kind === "leaf" && later.value === null) return earlier;
  if (earlier.kind === "lost") return earlier;
  if (earlier.kind === "map" && later.kind === "map") return mixed(earlier, later);
  if (earlier.kind === "list" && later.kind === "list") {
    return { ...earlier, items: [...earlier.items, ...later.items.map(unmarked)] };
  }
  return unmarked(later);
}

function mixed(earlier: MapTree, later: MapTree): MapTree {
  const entries = new Map<string, Entry>(earlier.entries);
  for (const [marked, { key, value }] of later.entries) {
    const name = marked.replace(/!$/, "");
    const before = entries.get(name);
    if (before && name === marked) {
      entries.set(name, { key: before.key, value: merge(before.value, value) });
    } else {
      entries.set(name, { key, value: unmarked(value) });
    }
  }
  return { ...earlier, entries };
}

/** A "!" has nothing to replace where nothing was before, but it is still no part of the key. */
function unmarked(tree: Tree): Tree {
  if (tree.kind === "list") return { ...tree, items: tree.items.map(unmarked) };
  if (tree.kind === "map") return mixed({ ...tree, entries: new Map() }, tree);
  return tree;
}
