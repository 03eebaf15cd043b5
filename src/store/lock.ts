/**
 * One process at a time may have a store's file open. `<file>.lock` names that process; a process
 * that dies leaves its lock behind, and the next one finds it stale.
 *
 * The lock holds the pid and the time at which that pid was born, as Linux counts it. A pid alone
 * is not enough: in a container every process is pid 1, and after a reboot the old pid may belong
 * to somebody else. Where there is no /proc the birth is empty and the pid decides.
 * Two containers that share the folder cannot see each other's processes: against them the file
 * store compares the file's size before each append.
 */
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { Fault } from "../core/fault.ts";

/** Takes the lock until disposed. Throws a `conflict` that names the holder when there is one. */
export async function lockFile(filename: string): Promise<AsyncDisposable> {
  const lock = `${filename}.lock`;
  const mine = `${process.pid} ${bornAt(process.pid)}\n`;
  while (!created(lock, mine)) await removeStale(lock, filename, mine);
  return {
    async [Symbol.asyncDispose]() {
      if (contents(lock) === mine) rmSync(lock, { force: true });
    },
  };
}

function created(lock: string, mine: string): boolean {
  try {
    // Synchronous, so that as little as possible can come between the file and what it says.
    writeFileSync(lock, mine, { flag: "wx", mode: 0o600 });
    return true;
  } catch (reason) {
    if (codeOf(reason) === "EEXIST") return false;
    // On a full disk the name is there and what it says is not: nobody would know whose it is.
    rmSync(lock, { force: true });
    throw reason;
  }
}

async function removeStale(lock: string, filename: string, mine: string): Promise<void> {
  let theirs = contents(lock);
  if (theirs === "") {
    // Created, and not yet written: either it is being written now, or its process died just then.
    await sleep(EMPTY_LOCK_PATIENCE_MS);
    theirs = contents(lock);
  }
  if (theirs === undefined) return;
  const [pid = "", birth = ""] = theirs.trim().split(" ");
  if (lives(Number(pid), birth)) throw held(pid, lock, filename);

  // Several may find the same lock stale, and the slowest must not remove the lock of the fastest.
  // So whoever removes one holds the guard, and looks again before: all in one breath, so that
  // hardly anything can happen while the guard stands.
  const guard = `${lock}.takeover`;
  if (!created(guard, mine)) return waitForTakeover(guard);
  try {
    if (contents(lock) === theirs) rmSync(lock, { force: true });
  } finally {
    rmSync(guard, { force: true });
  }
}

async function waitForTakeover(guard: string): Promise<void> {
  const deadline = performance.now() + TAKEOVER_PATIENCE_MS;
  while (contents(guard) !== undefined) {
    if (performance.now() > deadline) {
      throw new Fault(
        "conflict",
        `${guard} was left by a process that died while it started: delete it and start again`,
      );
    }
    await sleep(TAKEOVER_POLL_MS);
  }
}

function held(pid: string, lock: string, filename: string): Fault {
  return new Fault(
    "conflict",
    `${filename} is open in process ${pid}: stop that process first (if it is no eps, sd or proxy, delete ${lock})`,
    { detail: { pid: Number(pid) } },
  );
}

function lives(pid: number, birth: string): boolean {
  if (!Number.isSafeInteger(pid) || pid <= 0) return false;
  try {
    process.kill(pid, 0);
  } catch (reason) {
    // EPERM: it lives, and belongs to somebody else.
    if (codeOf(reason) !== "EPERM") return false;
  }
  return bornAt(pid) === birth;
}

/** Clock ticks between the machine's start and the process's, or "" where nobody tells. */
function bornAt(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    // The second field is the program's name in brackets and may hold spaces; the birth is the 22nd.
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? "";
  } catch {
    return "";
  }
}

function contents(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch (reason) {
    if (codeOf(reason) === "ENOENT") return undefined;
    throw reason;
  }
}

function codeOf(reason: unknown): string | undefined {
  return reason instanceof Error ? (reason as NodeJS.ErrnoException).code : undefined;
}

const EMPTY_LOCK_PATIENCE_MS = 100;
const TAKEOVER_PATIENCE_MS = 2_000;
const TAKEOVER_POLL_MS = 10;
