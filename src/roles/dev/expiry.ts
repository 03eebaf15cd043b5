import { X509Certificate } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";

/**
 * One line for each certificate in `folder` that has expired or soon will, and how to renew it.
 * Of a file with a chain only the first counts: the others have files of their own.
 */
export async function warnAboutExpiry(folder: string, tell: (line: string) => void): Promise<void> {
  // A folder that is not there yet holds nothing that expires.
  const names = await readdir(folder).catch(() => []);
  for (const name of names.filter((each) => each.endsWith(".crt")).sort()) {
    const file = join(folder, name);
    const end_ms = await endOf(file);
    if (end_ms === undefined) {
      tell(`${file} is no certificate; make a new set with: make certs FORCE=1`);
      continue;
    }
    const left_ms = end_ms - Date.now();
    if (left_ms > SOON_MS) continue;
    const day = new Date(end_ms).toISOString().slice(0, 10);
    const verb = left_ms > 0 ? "expires" : "expired";
    tell(`${file} ${verb} on ${day}; make a new set with: make certs FORCE=1`);
  }
}

async function endOf(file: string): Promise<number | undefined> {
  const pem = await readFile(file);
  try {
    return Date.parse(new X509Certificate(pem).validTo);
  } catch {
    return undefined;
  }
}

const SOON_MS = 30 * 24 * 60 * 60 * 1000;
