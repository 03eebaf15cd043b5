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
import { readFileSync, writeFileSync } from "node:fs";
import { readFile, rename, rm } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { Fault } from "../core/fault.ts";

/** Takes the lock until disposed. Throws a `conflict` that names the holder when there is one. */
export async function lockFile(filename: string): Promise<AsyncDisposable> {
  const lock = `${filename}.lock`;
  const mine = `${process.pid} ${bornAt(process.pid)}\n`;
  while (!created(lock, mine)) await removeStale(lock, filename);
  return {
    async [Symbol.asyncDispose]() {
      if ((await contents(lock)) === mine) await rm(lock, { force: true });
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
    throw reason;
  }
}

async function removeStale(lock: string, filename: string): Promise<void> {
  let theirs = await contents(lock);
  if (theirs === "") {
    // Created, and not yet written: either it is being written now, or its process died just then.
    await sleep(EMPTY_LOCK_PATIENCE_MS);
    theirs = await contents(lock);
  }
  if (theirs === undefined) return;
  const [pid = "", birth = ""] = theirs.trim().split(" ");
  if (lives(Number(pid), birth)) throw held(pid, lock, filename);

  // Two processes may find the same lock stale. A rename has one winner, and the check behind it
  // notices when what was moved is the lock of one who was faster.
  const moved = `${lock}.stale-${process.pid}`;
  try {
    await rename(lock, moved);
  } catch (reason) {
    if (codeOf(reason) === "ENOENT") return;
    throw reason;
  }
  if ((await contents(moved)) === theirs) {
    await rm(moved, { force: true });
    return;
  }
  await rename(moved, lock);
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

async function contents(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, "utf8");
  } catch (reason) {
    if (codeOf(reason) === "ENOENT") return undefined;
    throw reason;
  }
}

function codeOf(reason: unknown): string | undefined {
  return reason instanceof Error ? (reason as NodeJS.ErrnoException).code : undefined;
}

const EMPTY_LOCK_PATIENCE_MS = 100;
