import { readFile } from "node:fs/promises";
import { Fault } from "../core/fault.ts";

/** The text of a PEM file. A missing file or another format is a `settings` fault that names it and the fix. */
export async function readPem(file: string): Promise<string> {
  const text = await readFile(file, "utf8").catch((cause) => {
    const missing = (cause as NodeJS.ErrnoException).code === "ENOENT";
    const fix = missing ? " (for development certificates run `make certs`)" : "";
    throw new Fault("settings", `cannot read ${file}${fix}`, { cause });
  });
  const [begins, ends] = [count(text, "-----BEGIN "), count(text, "-----END ")];
  if (begins === 0) throw new Fault("settings", `${file} is not a PEM file`);
  if (begins > ends) throw new Fault("settings", `${file} is cut off: a block in it has no end`);
  return text;
}

function count(text: string, what: string): number {
  return text.split(what).length - 1;
}
