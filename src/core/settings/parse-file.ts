import { readFile, stat } from "node:fs/promises";
import {
  type Alias,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Pair,
  type ParsedNode,
  parseAllDocuments,
  type ScalarTag,
  type Tags,
  type YAMLMap,
} from "yaml";
import type { Notes } from "./notes.ts";
import {
  DEPTH_MAX,
  describe,
  type Entry,
  NODES_MAX,
  type Origin,
  type Path,
  type Tree,
} from "./tree.ts";

const FILE_MAX = 1024 * 1024;
const TOO_DEEP = `nests deeper than ${DEPTH_MAX} levels`;

/** One file as a tree, or nothing if it cannot be read; why is in the notes. An empty file is null. */
export async function parseFile(file: string, notes: Notes): Promise<Tree | undefined> {
  try {
    return parse(file, await readText(file), notes);
  } catch (reason) {
    if (!(reason instanceof Unreadable)) throw reason;
    notes.problem(reason.message, reason.origin, reason.path);
    notes.incomplete = true;
    return undefined;
  }
}

class Unreadable extends Error {
  readonly origin: Origin;
  readonly path: Path;
  constructor(message: string, origin: Origin, path: Path = []) {
    super(message);
    this.origin = origin;
    this.path = path;
  }
}

async function readText(file: string): Promise<string> {
  const origin = { file, line: 1, column: 1 };
  try {
    if ((await stat(file)).size > FILE_MAX) {
      throw new Unreadable(`the file is larger than ${FILE_MAX / 1024 / 1024} MiB`, origin);
    }
    return new TextDecoder("utf-8", { fatal: true }).decode(await readFile(file));
  } catch (reason) {
    if (reason instanceof Unreadable) throw reason;
    const { code } = reason as NodeJS.ErrnoException;
    const why =
      code === "ENOENT"
        ? "there is no such file"
        : code === "EACCES"
          ? "this user may not read the file"
          : code === "ERR_ENCODING_INVALID_ENCODED_DATA"
            ? "the file is not UTF-8 text"
            : `the file cannot be read (${code})`;
    throw new Unreadable(why, origin);
  }
}

/**
 * YAML 1.1, as the original reads it: `yes` is a boolean and `010` is eight. Timestamps stay texts.
 * The same reader takes JSON, because it knows the line of everything; strictness comes first.
 */
function parse(file: string, text: string, notes: Notes): Tree {
  const lines = new LineCounter();
  const at = (offset: number): Origin => {
    const { line, col } = lines.linePos(offset);
    return { file, line: Math.max(line, 1), column: Math.max(col, 1) };
  };
  const json = file.endsWith(".json");
  const wrongJson = json && !isJson(text);
  try {
    const documents = parseAllDocuments<ParsedNode>(text, {
      ...(json ? { version: "1.2", schema: "json" } : { version: "1.1", customTags: originalTags }),
      lineCounter: lines,
      prettyErrors: false, // they quote the file, and a file may hold a password
      uniqueKeys: false, // we say where the first one is
    });
    const [document, another] = "empty" in documents ? [] : documents;
    const error = document?.errors[0] ?? document?.warnings[0];
    if (error) throw new Unreadable(syntaxError(error, json), at(error.pos[0]));
    if (wrongJson) throw new Unreadable("this is not JSON, although YAML would allow it", at(0));
    if (another) {
      throw new Unreadable(
        "a second document (---) is more than one file may hold",
        at(another.range[0]),
      );
    }
    if (!document?.contents) return { kind: "leaf", value: null, origin: at(0) };
    return new Reader(at, notes, (alias) => alias.resolve(document) as ParsedNode | undefined).read(
      document.contents,
      [],
    );
  } catch (reason) {
    // The parser and JSON.parse recurse, and only the stack limits them.
    if (!(reason instanceof RangeError)) throw reason;
    throw new Unreadable(TOO_DEEP, at(0));
  }
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text.replace(/^\uFEFF/, ""));
    return true;
  } catch (reason) {
    if (reason instanceof RangeError) throw reason;
    return false;
  }
}

const NOT_IN_THE_ORIGINAL = /:(timestamp|binary|omap|pairs|set)$/;

function originalTags(tags: Tags): Tags {
  return tags.filter((tag) => {
    const { tag: name, format } = tag as ScalarTag;
    return format !== "TIME" && !NOT_IN_THE_ORIGINAL.test(name);
  });
}

const UNKNOWN_ALIAS = 'a value that starts with "*" must be quoted, unless it names an anchor';

/** The parser's own words, except where those repeat a piece of the file that may be secret. */
function syntaxError({ code, message }: { code: string; message: string }, json: boolean): string {
  const what = json ? "not valid JSON" : "not valid YAML";
  if (code === "RESOURCE_EXHAUSTION") return TOO_DEEP;
  if (code === "BAD_ALIAS") return `${what}: ${UNKNOWN_ALIAS}`;
  if (code === "TAG_RESOLVE_FAILED") return `${what}: a value that starts with "!" must be quoted`;
  if (code === "BAD_DQ_ESCAPE") return `${what}: this "\\" is no escape; write it twice`;
  if (json) return what;
  const [reason = message] = message.split(": "); // what follows a colon is quoted from the file
  return `${what}: ${reason.charAt(0).toLowerCase()}${reason.slice(1)}`;
}

/** Turns the parser's nodes into ours, and follows aliases within bounds. */
class Reader {
  readonly #at: (offset: number) => Origin;
  readonly #notes: Notes;
  readonly #resolve: (alias: Alias) => ParsedNode | undefined;
  #nodes = 0;

  constructor(
    at: (offset: number) => Origin,
    notes: Notes,
    resolve: (alias: Alias) => ParsedNode | undefined,
  ) {
    this.#at = at;
    this.#notes = notes;
    this.#resolve = resolve;
  }

  read(node: ParsedNode | null, path: Path, key?: Origin): Tree {
    const here = node ? this.#at(node.range[0]) : (key ?? this.#at(0));
    this.#nodes += 1;
    if (this.#nodes > NODES_MAX) throw new Unreadable("grows too large by its aliases", here, path);
    if (path.length > DEPTH_MAX) {
      throw new Unreadable(TOO_DEEP, here, path.slice(0, 3));
    }
    if (isAlias(node)) {
      const meant = this.#resolve(node as Alias);
      if (!meant) throw new Unreadable(`not valid YAML: ${UNKNOWN_ALIAS}`, here, path);
      return this.read(meant, path, key);
    }
    // What is wrong with a whole map or list is shown at its key.
    if (isMap(node)) {
      return { kind: "map", entries: this.#entries(node as YAMLMap, path), origin: key ?? here };
    }
    if (isSeq(node)) {
      const items = node.items.map((item, i) => this.read(item as ParsedNode, [...path, i]));
      return { kind: "list", items, origin: key ?? here };
    }
    const value = isScalar(node) ? node.value : null;
    return { kind: "leaf", value: value as string | number | boolean | null, origin: here };
  }

  #entries(map: YAMLMap, path: Path): Map<string, Entry> {
    const entries = new Map<string, Entry>();
    const inherited: Array<[string, Entry]> = [];
    for (const pair of map.items as Array<Pair<ParsedNode, ParsedNode | null>>) {
      const key = this.#at(pair.key.range[0]);
      if (isMergeKey(pair.key)) {
        inherited.push(...this.#inherited(pair.value, path, key));
        continue;
      }
      const name = isScalar(pair.key) ? pair.key.value : undefined;
      if (typeof name !== "string") {
        this.#notes.problem(notText(pair.key), key, path);
        continue;
      }
      const first = entries.get(name);
      if (first) {
        this.#notes.problem(`is there twice, first in line ${first.key.line}`, key, [
          ...path,
          name,
        ]);
        continue;
      }
      entries.set(name, { key, value: this.read(pair.value, [...path, name], key) });
    }
    for (const [name, entry] of inherited) if (!entries.has(name)) entries.set(name, entry);
    return entries;
  }

  /** `<<: *defaults`, or a list of such, of which the first wins. */
  #inherited(node: ParsedNode | null, path: Path, key: Origin): Array<[string, Entry]> {
    const tree = this.read(node, path, key);
    const sources = tree.kind === "list" ? tree.items : [tree];
    return sources.flatMap((source) => {
      if (source.kind === "map") return [...source.entries];
      this.#notes.problem('"<<" can take in only a map', source.origin, path);
      return [];
    });
  }
}

function isMergeKey(key: ParsedNode): boolean {
  return isScalar(key) && typeof key.value === "symbol";
}

/** `no: …` and `8080: …` are not what they look like. */
function notText(key: ParsedNode): string {
  if (!isScalar(key)) return "a key must be a text";
  return `the key ${key.source} must be put in quotes, because it means ${describe(key.value)}`;
}
