/**
 * A log in one file that the original programs can read and write too (eps-protocol 9.1).
 *
 * Between two appends the file holds whole entries up to `#size`, and nothing behind it. Whatever
 * breaks that (a crash, a full disk) is undone before anything else happens: at the next start by
 * `recover`, in a running process by `#cutBack`.
 */
import { randomBytes } from "node:crypto";
import { type FileHandle, mkdir, open, rm, stat } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { explain, Fault } from "../core/fault.ts";
import type { Log } from "../core/log.ts";
import { Scope } from "../core/scope.ts";
import { Assembler, CHUNK_ID_BYTES, Damage, parseChunk, toChunks } from "./chunks.ts";
import { encodeEntry } from "./entry.ts";
import { readIntent, removeIntent, syncFolder, writeIntent } from "./intent.ts";
import { lockFile } from "./lock.ts";
import type { Store, StoredEntry } from "./store.ts";

type Deps = { log: Log };

/**
 * Opens the log and repairs what a crash left at its end. Bytes are only ever cut away after they
 * were copied to `<file>.torn-<time>`; damage that no crash explains is a fault and left untouched.
 */
export async function openFileStore(
  { filename }: { filename: string },
  { log }: Deps,
): Promise<Store> {
  const scope = new Scope();
  const path = resolve(filename);
  try {
    await mkdir(dirname(path), { recursive: true });
    scope.use(await lockFile(path));
    const file = await open(path, "a+", 0o600);
    scope.defer(() => file.close());
    await syncFolder(path);
    const size = await recover(file, path, log);
    return new FileStore({ file, path, size, scope, log });
  } catch (reason) {
    await scope[Symbol.asyncDispose]();
    if (reason instanceof Fault) throw reason;
    throw new Fault(
      "settings",
      `the store ${path} cannot be opened: ${explain(reason)} (${adviceFor(reason) ?? "the file and its folder must be writable"})`,
      { cause: reason },
    );
  }
}

/** How many entries a log holds. Reads only; a torn end does not count, and damage is a fault. */
export async function countEntries(filename: string): Promise<number> {
  const path = resolve(filename);
  const file = await open(path, "r");
  try {
    return (await scan(file, path, 0, (await file.stat()).size)).entries.length;
  } finally {
    await file.close();
  }
}

type Open = { file: FileHandle; path: string; size: number; scope: Scope; log: Log };

class FileStore implements Store {
  readonly #file: FileHandle;
  readonly #path: string;
  readonly #scope: Scope;
  readonly #log: Log;
  /** Where the next append begins. */
  #size: number;
  /** Where the next read begins. */
  #position = 0;
  /** A failed append could not be undone yet, so there may be bytes behind `#size`. */
  #unclean = false;
  #closed = false;
  #lastTurn: Promise<unknown> = Promise.resolve();

  constructor({ file, path, size, scope, log }: Open) {
    this.#file = file;
    this.#path = path;
    this.#size = size;
    this.#scope = scope;
    this.#log = log;
  }

  read(): Promise<StoredEntry[]> {
    return this.#inTurn(async () => {
      const { entries } = await scan(this.#file, this.#path, this.#position, this.#size);
      this.#position = this.#size;
      return entries;
    });
  }

  async append(entries: StoredEntry[]): Promise<void> {
    // Before its turn comes, so that what was asked for is stored even if the caller reuses a buffer.
    const bytes = Buffer.concat(
      entries.map((entry) => toChunks(encodeEntry(entry), randomBytes(CHUNK_ID_BYTES))),
    );
    if (entries.length === 0) return;
    await this.#inTurn(() => this.#append(bytes, entries.length));
  }

  async #append(bytes: Buffer, count: number): Promise<void> {
    if (this.#unclean) await this.#cutBack();
    await this.#assertOurs();
    try {
      // One entry needs no intent: a piece of it is recognised by the number of its chunks.
      if (count > 1) await writeIntent(this.#path, this.#size);
      await this.#file.appendFile(bytes);
      await this.#file.sync();
      if (count > 1) await removeIntent(this.#path);
    } catch (reason) {
      this.#unclean = true;
      const advice = adviceFor(reason) ?? UNKNOWN;
      this.#log.error({ err: reason, file: this.#path }, `append failed: ${advice}`);
      await this.#cutBack();
      throw new Fault("internal", `nothing was stored: ${advice}`, { cause: reason });
    }
    this.#size += bytes.length;
  }

  /** Half a batch must never be left, not even by a full disk: everything behind `#size` goes. */
  async #cutBack(): Promise<void> {
    try {
      await this.#file.truncate(this.#size);
      await this.#file.sync();
      await removeIntent(this.#path);
      this.#unclean = false;
    } catch (reason) {
      const advice = `the file could not be cut back to ${this.#size} bytes and takes no more entries until it can`;
      this.#log.error({ err: reason, file: this.#path }, advice);
      throw new Fault("internal", `nothing was stored: ${adviceFor(reason) ?? UNKNOWN}`, {
        cause: reason,
      });
    }
  }

  /** The lock does not reach into other containers, and nothing stops a person with `rm`. */
  async #assertOurs(): Promise<void> {
    const size = await stat(this.#path).then(
      (found) => found.size,
      () => undefined,
    );
    if (size === this.#size) return;
    const change = size === undefined ? "is gone" : `has ${size} bytes instead of ${this.#size}`;
    this.#log.error({ file: this.#path }, `the file ${change}: somebody else changed it`);
    throw new Fault(
      "conflict",
      "nothing was stored: somebody else changed the store; stop them, then restart this process",
    );
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    if (this.#closed) return Promise.reject(new Error("the store is closed"));
    const turn = this.#lastTurn.then(work);
    this.#lastTurn = turn.catch(() => {});
    return turn;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    await this.#lastTurn;
    await this.#scope[Symbol.asyncDispose]();
  }
}

/** Cuts away what a crash left, says so in one line, and returns the size of what remains. */
async function recover(file: FileHandle, path: string, log: Log): Promise<number> {
  const { size } = await file.stat();
  const batch = Math.min((await readIntent(path)) ?? size, size);
  const found = await scan(file, path, 0, batch);
  if (found.tail < size) {
    const copy = await keepTorn(file, path, found.tail, size);
    await file.truncate(found.tail);
    await file.sync();
    log.warn(
      { file: path, bytes: size - found.tail, entries: found.entries.length, copy },
      `recovered from an unfinished append: cut ${size - found.tail} bytes away, kept ${found.entries.length} entries`,
    );
  }
  if (found.skipped > 0) {
    log.warn(
      { file: path, entries: found.skipped },
      `${found.skipped} entries were never finished by whoever wrote them, and are skipped`,
    );
  }
  await removeIntent(path);
  return found.tail;
}

async function keepTorn(file: FileHandle, path: string, from: number, to: number): Promise<string> {
  const copy = `${path}.torn-${new Date().toISOString().replaceAll(":", "-")}`;
  const torn = await open(copy, "ax", 0o600);
  try {
    for (let offset = from; offset < to; ) {
      const block = await readAt(file, offset, to);
      await torn.appendFile(block);
      offset += block.length;
    }
    await torn.sync();
  } catch (reason) {
    await rm(copy); // half a copy is none, and one would be left by every attempt to start
    throw reason;
  } finally {
    await torn.close();
  }
  await syncFolder(copy);
  return copy;
}

/** `tail` is where chunks that belong to no finished entry begin, `skipped` how many such lie before it. */
type Scan = { entries: StoredEntry[]; tail: number; skipped: number };

async function scan(file: FileHandle, path: string, from: number, to: number): Promise<Scan> {
  const assembler = new Assembler();
  let offset = from;
  try {
    for (let wholeChunks = -1; wholeChunks !== 0; ) {
      const block = await readAt(file, offset, to);
      wholeChunks = 0;
      let at = 0;
      for (
        let chunk = parseChunk(block, at, offset);
        chunk;
        chunk = parseChunk(block, at, offset)
      ) {
        assembler.add(chunk, offset + at);
        at += chunk.size;
        wholeChunks += 1;
      }
      offset += at;
    }
  } catch (reason) {
    if (!(reason instanceof Damage)) throw reason;
    // After a power cut a file may have grown without its last bytes having arrived: they are zeros.
    if (!(await onlyZeros(file, reason.offset, to))) throw damaged(path, reason);
    offset = reason.offset;
  }
  const { tail, skipped } = assembler.unfinished(offset);
  return { entries: assembler.entries(), tail, skipped };
}

/** Up to a block of what lies at `offset`, and at least one byte unless `offset` is the end. */
async function readAt(file: FileHandle, offset: number, to: number): Promise<Buffer> {
  const block = Buffer.allocUnsafe(Math.min(BLOCK_BYTES, to - offset));
  let length = 0;
  while (length < block.length) {
    const { bytesRead } = await file.read(block, length, block.length - length, offset + length);
    if (bytesRead === 0)
      throw new Error(`the file ends at byte ${offset + length} instead of ${to}`);
    length += bytesRead;
  }
  return block;
}

async function onlyZeros(file: FileHandle, from: number, to: number): Promise<boolean> {
  for (let offset = from; offset < to; ) {
    const block = await readAt(file, offset, to);
    if (block.some((byte) => byte !== 0)) return false;
    offset += block.length;
  }
  return true;
}

function damaged(path: string, { offset, message }: Damage): Fault {
  return new Fault(
    "malformed",
    `${path} is damaged at byte ${offset}: ${message}. Nothing was changed. Restore the file from a backup, or go on with what precedes the damage: head -c ${offset} ${path}`,
    { detail: { file: path, offset } },
  );
}

function adviceFor(reason: unknown): string | undefined {
  const code = reason instanceof Error ? (reason as NodeJS.ErrnoException).code : undefined;
  return code && ADVICE[code];
}

const UNKNOWN = "the disk refuses to write; the log says why";

const ADVICE: Record<string, string> = {
  ENOSPC: "the disk is full; free some space and try again",
  EDQUOT: "the disk quota is used up; raise it and try again",
  EFBIG: "the file may not grow any further; raise the limit on file sizes (ulimit -f) and restart",
  EIO: "the disk reports an error; check it before trying again",
  EROFS: "the disk is read-only; check it before trying again",
};

const BLOCK_BYTES = 1024 * 1024;
