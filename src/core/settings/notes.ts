import { relative } from "node:path";
import { distance } from "fastest-levenshtein";
import type { Origin, Path } from "./tree.ts";

/** Everything there is to say about the settings of one program, gathered before anything is said. */
export class Notes {
  readonly #problems = new Set<string>();
  readonly #warnings = new Set<string>();

  /** Some file or part of one could not be had, so what seems missing may be in there. */
  incomplete = false;

  problem(text: string, origin?: Origin, path: Path = []): void {
    this.#problems.add(line(text, origin, path));
  }

  warn(text: string, origin?: Origin, path: Path = []): void {
    this.#warnings.add(line(text, origin, path));
  }

  get problems(): string[] {
    return [...this.#problems];
  }

  get warnings(): string[] {
    return [...this.#warnings];
  }
}

/** `file:line:column: path.to.key: what is the matter` */
function line(text: string, origin: Origin | undefined, path: Path): string {
  const where = origin ? [`${shownPath(origin.file)}:${origin.line}:${origin.column}`] : [];
  const key = path.length > 0 ? [path.map(String).join(".")] : [];
  return [...where, ...key, text].join(": ");
}

/** Relative to where the program was started, unless the file lies elsewhere. */
export function shownPath(file: string): string {
  const near = relative(process.cwd(), file);
  return near === "" || near.startsWith("..") ? file : near;
}

/** ` (did you mean "key_file"?)`, or nothing if no candidate comes close. */
export function didYouMean(word: string, candidates: Iterable<string>): string {
  const match = nearest(word, candidates);
  return match === undefined ? "" : ` (did you mean ${JSON.stringify(match)}?)`;
}

export function nearest(word: string, candidates: Iterable<string>): string | undefined {
  const furthest = Math.ceil(word.length / 3);
  const ranked = [...candidates]
    .map((candidate) => ({ candidate, far: distance(folded(word), folded(candidate)) }))
    .filter(({ candidate, far }) => far <= furthest && candidate !== word)
    .sort((a, b) => a.far - b.far);
  return ranked[0]?.candidate;
}

/** `keyFile`, `key-file` and `KEY_FILE` are all meant to be `key_file`. */
function folded(word: string): string {
  return word.toLowerCase().replace(/[-_\s]/g, "");
}
