import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** This package's own folder: the first above this code, which may be read from `src` or built into `dist`. */
const FOLDER = (function above(folder: string): string {
  return existsSync(join(folder, "package.json")) ? folder : above(dirname(folder));
})(dirname(fileURLToPath(import.meta.url)));

/** Where a file of this package lies, which is named from the package's own folder. */
export function packageFile(path: string): string {
  return join(FOLDER, path);
}

/** The version of this package, as its package.json says. */
export const VERSION: string = JSON.parse(
  readFileSync(packageFile("package.json"), "utf8"),
).version;
