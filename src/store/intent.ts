/**
 * A promise to the next start: "if you can read this, the batch that begins here was not finished".
 *
 * `<file>.intent` holds the size the file had before the batch. It is on disk before the batch's
 * first byte, and gone from disk before the batch is acknowledged, so that after a crash its mere
 * presence tells that the batch must go. One torn while being written ends without its newline and
 * means nothing, because then the batch had not begun.
 */
import { open, readFile, rm } from "node:fs/promises";
import { dirname } from "node:path";

export async function writeIntent(filename: string, size: number): Promise<void> {
  const file = await open(intentOf(filename), "w", 0o600);
  try {
    await file.writeFile(`${size}\n`);
    await file.sync();
  } finally {
    await file.close();
  }
  await syncFolder(filename);
}

/** The size to cut back to, if a batch was left unfinished. */
export async function readIntent(filename: string): Promise<number | undefined> {
  try {
    const text = await readFile(intentOf(filename), "utf8");
    return /^\d+\n$/.test(text) ? Number(text) : undefined;
  } catch (reason) {
    if ((reason as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw reason;
  }
}

export async function removeIntent(filename: string): Promise<void> {
  await rm(intentOf(filename), { force: true });
  await syncFolder(filename);
}

/** A name is as durable as the folder it stands in. */
export async function syncFolder(filename: string): Promise<void> {
  const folder = await open(dirname(filename), "r");
  try {
    await folder.sync();
  } catch (reason) {
    // Some mounted filesystems cannot sync a folder; on those there is nothing more to be had.
    if ((reason as NodeJS.ErrnoException).code !== "EINVAL") throw reason;
  } finally {
    await folder.close();
  }
}

function intentOf(filename: string): string {
  return `${filename}.intent`;
}
