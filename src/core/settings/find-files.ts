import { readdir, stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { didYouMean, type Notes, shownPath } from "./notes.ts";

const SETTINGS_FILE = /\.(yml|json)$/;

/**
 * The files that an environment variable such as EPS_SETTINGS names, in the order in which they are
 * merged (eps-protocol 1.4): files as they are, folders as what lies directly in them, by name.
 */
export async function findFiles(value: string, notes: Notes): Promise<string[]> {
  const files: string[] = [];
  for (const item of value.split(":").filter((each) => each !== "")) {
    files.push(...(await filesAt(resolve(item), notes)));
  }
  return files;
}

async function filesAt(path: string, notes: Notes): Promise<string[]> {
  try {
    if (!(await stat(path)).isDirectory()) {
      if (SETTINGS_FILE.test(path)) return [path];
      notes.problem(`${shownPath(path)}: a settings file must end in .yml or .json`);
      notes.incomplete = true;
      return [];
    }
    const names = (await readdir(path)).filter((name) => SETTINGS_FILE.test(name)).sort();
    const files: string[] = [];
    for (const name of names) {
      if (!(await stat(join(path, name))).isDirectory()) files.push(join(path, name));
    }
    if (files.length === 0) notes.warn(`${shownPath(path)}: holds no .yml or .json file`);
    return files;
  } catch (reason) {
    notes.problem(`${shownPath(path)}: ${await whyMissing(path, reason)}`);
    notes.incomplete = true;
    return [];
  }
}

async function whyMissing(path: string, reason: unknown): Promise<string> {
  const { code } = reason as NodeJS.ErrnoException;
  if (code === "EACCES") return "this user may not read it";
  if (code !== "ENOENT") return `it cannot be read (${code})`;
  const neighbours = await readdir(dirname(path)).catch(() => []);
  return `there is no such file or folder${didYouMean(basename(path), neighbours)}`;
}
