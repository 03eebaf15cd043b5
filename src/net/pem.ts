import { readFile } from "node:fs/promises";
import { Fault } from "../core/fault.ts";

/** The text of a PEM file. A missing file or another format is a `settings` fault that names it and the fix. */
export async function readPem(file: string): Promise<string> {
  const text = await readFile(file, "utf8").catch((cause) => {
    const missing = (cause as NodeJS.ErrnoException).code === "ENOENT";
    const fix = missing ? " (for development certificates run `make certs`)" : "";
    throw new Fault("settings", `cannot read ${file}${fix}`, { cause });
  });
  if (!text.includes("-----BEGIN ")) throw new Fault("settings", `${file} is not a PEM file`);
  return text;
}
