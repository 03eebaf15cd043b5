import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import * as z from "zod";
import { Fault } from "../../core/fault.ts";
import type { Log } from "../../core/log.ts";
import type { Directory } from "../directory.ts";
import type { Entry } from "../entry.ts";
import type { DirectoryEvents } from "../events.ts";
import { fold } from "../fold.ts";
import { ChangeRecord, normalise } from "../record.ts";

/**
 * A directory of unsigned records on disk: one file, or every `.json` of a folder in the order of
 * names (eps-protocol 8.10).
 *
 * Whoever can write the files is believed. They are read again when they change; a version that
 * cannot be used is logged and the last good one stays.
 */

type JsonDirectorySettings = { path: string };
type Entries = ReadonlyMap<string, Entry>;

const LOOK_EVERY_MS = 1_000;

/** Rejects if the first version cannot be used. Reads no more once it is disposed or the signal aborts. */
export async function openJsonDirectory(
  { path }: JsonDirectorySettings,
  { log, events }: { log: Log; events?: DirectoryEvents },
  signal?: AbortSignal,
): Promise<Directory> {
  signal?.throwIfAborted();
  // Looked at before reading: a change in between is then seen the next time.
  const look = await describe(path);
  const directory = new JsonDirectory(path, look, await read(path), { log, events });
  signal?.addEventListener("abort", () => directory.close(), { once: true });
  if (signal?.aborted) directory.close();
  return directory;
}

class JsonDirectory implements Directory {
  readonly #path: string;
  readonly #log: Log;
  readonly #events: DirectoryEvents | undefined;
  readonly #listeners = new Set<() => void>();
  readonly #timer: NodeJS.Timeout;
  #look: string;
  #entries: Entries;
  #looking = false;
  /** Is the version that is there now one that cannot be used? */
  #failing = false;

  constructor(
    path: string,
    look: string,
    entries: Entries,
    { log, events }: { log: Log; events?: DirectoryEvents | undefined },
  ) {
    this.#path = path;
    this.#look = look;
    this.#entries = entries;
    this.#log = log;
    this.#events = events;
    events?.read(this.entries());
    this.#timer = setInterval(() => void this.#refresh(), LOOK_EVERY_MS).unref();
  }

  entry(name: string): Entry | undefined {
    return this.#entries.get(name);
  }

  entries(): Entry[] {
    return [...this.#entries.values()];
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** There is always a first version. */
  async ready(): Promise<void> {}

  close(): void {
    clearInterval(this.#timer);
    this.#listeners.clear();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }

  async #refresh(): Promise<void> {
    if (this.#looking) return;
    this.#looking = true;
    try {
      const look = await describe(this.#path).catch((reason: unknown) => String(reason));
      if (look === this.#look) {
        if (!this.#failing) this.#events?.read(this.entries());
        return;
      }
      this.#look = look;
      this.#failing = true;
      this.#entries = await read(this.#path);
      this.#failing = false;
      this.#events?.read(this.entries());
      this.#log.info({ path: this.#path, entries: this.#entries.size }, "directory read again");
      for (const listener of this.#listeners) listener();
    } catch (err) {
      this.#events?.failed();
      this.#log.warn(
        { path: this.#path, err },
        "directory cannot be read, keeping its last version",
      );
    } finally {
      this.#looking = false;
    }
  }
}

const File = z.object({ records: z.array(ChangeRecord) });

async function read(path: string): Promise<Entries> {
  let entries: Entries = new Map();
  for (const file of await filesOf(path)) {
    const { records } = normalise(File, await parse(file), `the directory file ${file}`);
    entries = fold(
      entries,
      records.map((record) => ({ parent_hash: "", hash: "", signature: null, record })),
    );
  }
  return entries;
}

async function parse(file: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(file, "utf8"));
  } catch (cause) {
    throw new Fault("settings", `the directory file ${file} cannot be read`, { cause });
  }
}

/** Changes whenever a file does. */
async function describe(path: string): Promise<string> {
  const files = await filesOf(path);
  const looks = files.map(async (file) => {
    const { ino, size, mtimeMs, ctimeMs } = await stat(file);
    return [file, ino, size, mtimeMs, ctimeMs].join(" ");
  });
  return (await Promise.all(looks)).join("\n");
}

/** The original's pattern is not anchored: `001.json.bak` counts too. Names go by bytes. */
async function filesOf(path: string): Promise<string[]> {
  try {
    if (!(await stat(path)).isDirectory()) return [path];
    const all = await readdir(path, { withFileTypes: true });
    return all
      .filter((each) => !each.isDirectory() && /.json/.test(each.name))
      .map((each) => each.name)
      .sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
      .map((name) => join(path, name));
  } catch (cause) {
    throw new Fault("settings", `the directory ${path} cannot be read`, { cause });
  }
}
