/** What Linux tells of processes and of the machine. */
import { readdirSync, readFileSync } from "node:fs";
import { cpus, release, totalmem } from "node:os";
import type { Surroundings } from "./statistics.ts";

/** `sysconf(_SC_CLK_TCK)`, the same on every Linux that Node runs on. */
const TICKS = 100;

type Process = { pid: number; parent: number; cpu_s: number };

/** Processor time of these processes, of all their descendants, and of those of them that have ended, in seconds. */
export function cpuOf(pids: readonly number[]): number {
  return tree(pids).reduce((sum, { cpu_s }) => sum + cpu_s, 0);
}

/** Memory that these processes and all their descendants have in use, in bytes. */
export function memoryOf(pids: readonly number[]): number {
  return tree(pids).reduce((sum, { pid }) => {
    const [, kib = "0"] = /^VmRSS:\s+(\d+) kB/m.exec(read(`/proc/${pid}/status`)) ?? [];
    return sum + Number(kib) * 1_024;
  }, 0);
}

function tree(pids: readonly number[]): Process[] {
  const all = readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map((name) => processOf(name))
    .filter((each) => each !== undefined);
  const found = all.filter(({ pid }) => pids.includes(pid));
  for (const { pid } of found) found.push(...all.filter(({ parent }) => parent === pid));
  return found;
}

/** proc(5): of /proc/pid/stat field 4 is the parent, 14 to 17 are times of it and of children it has waited for. */
function processOf(name: string): Process | undefined {
  const stat = read(`/proc/${name}/stat`);
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  if (fields.length < 15) return undefined;
  const ticks = fields.slice(11, 15).reduce((sum, each) => sum + Number(each), 0);
  return { pid: Number(name), parent: Number(fields[1]), cpu_s: ticks / TICKS };
}

function read(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return ""; // it has ended meanwhile
  }
}

/** Where the machine's time has gone so far, in seconds of a core. */
type Time = { busy: number; stolen: number; at_ms: number };

function now(): Time {
  const [line = ""] = read("/proc/stat").split("\n");
  const [user = 0, nice = 0, system = 0, , , , , stolen = 0] = line
    .split(/\s+/)
    .slice(1)
    .map(Number);
  return {
    busy: (user + nice + system) / TICKS,
    stolen: stolen / TICKS,
    at_ms: performance.now(),
  };
}

/** Looks at the machine from now on; what it says then leaves out the processor time that was ours. */
export function watch(): (ours_s: number) => Surroundings {
  const begun = now();
  return (ours_s) => {
    const ended = now();
    const seconds = (ended.at_ms - begun.at_ms) / 1_000;
    return {
      others: Math.max(0, ended.busy - begun.busy - ours_s) / seconds,
      stolen: (ended.stolen - begun.stolen) / seconds / cpus().length,
    };
  };
}

/** The machine in one line. */
export function describeMachine(): string {
  const model = cpus()[0]?.model.trim() ?? "unknown processor";
  const memory = Math.round(totalmem() / 2 ** 30);
  return `${cpus().length} × ${model}, ${memory} GiB, Linux ${release()}, Node ${process.versions.node}`;
}
