import { closeSync, openSync, readFileSync, readSync } from "node:fs";

const CHUNK = 1024 * 1024;
/** Areas of the kernel's that nobody may read. */
const KERNELS = /\[(vvar|vvar_vclock|vsyscall)\]$/;

/** How often each of these stands in all that a process has in memory and that can be read; Linux only. */
export function findInMemory(pid: number, wanted: Buffer[]): number[] {
  const found = wanted.map(() => 0);
  const overlap = Math.max(...wanted.map(({ length }) => length)) - 1;
  const memory = openSync(`/proc/${pid}/mem`, "r");
  try {
    for (const map of readFileSync(`/proc/${pid}/maps`, "latin1").split("\n")) {
      const [, from, to] = /^(\w+)-(\w+) r/.exec(map) ?? [];
      if (!from || KERNELS.test(map)) continue;
      for (const { seen, fresh } of chunksOf(memory, [`0x${from}`, `0x${to}`], overlap)) {
        for (const [index, each] of wanted.entries())
          found[index] = (found[index] ?? 0) + count(seen, each, fresh);
      }
    }
  } finally {
    closeSync(memory);
  }
  return found;
}

/** What stands in an area, chunk by chunk: each begins with the end of the one before, up to `fresh`. */
function* chunksOf(memory: number, area: [from: string, to: string], overlap: number) {
  const [from, to] = area.map(BigInt) as [bigint, bigint];
  const bytes = Buffer.alloc(overlap + CHUNK);
  let kept = 0;
  for (let at = from; at < to; at += BigInt(CHUNK)) {
    const size = readSome(memory, bytes.subarray(overlap), at, Math.min(CHUNK, Number(to - at)));
    if (size === 0) return;
    yield { seen: bytes.subarray(overlap - kept, overlap + size), fresh: kept };
    kept = Math.min(overlap, size);
    bytes.copyWithin(overlap - kept, overlap + size - kept, overlap + size);
  }
}

/** Nothing where an area is gone by now, or is a guard. */
function readSome(memory: number, into: Buffer, at: bigint, size: number): number {
  try {
    return readSync(memory, into, 0, size, at);
  } catch (reason) {
    if (["EIO", "EFAULT"].includes(`${(reason as NodeJS.ErrnoException).code}`)) return 0;
    throw reason;
  }
}

/** Those that end behind `fresh`; the others were counted before. */
function count(seen: Buffer, wanted: Buffer, fresh: number): number {
  let found = 0;
  const begin = Math.max(0, fresh - wanted.length + 1);
  for (let i = seen.indexOf(wanted, begin); i >= 0; i = seen.indexOf(wanted, i + wanted.length))
    found += 1;
  return found;
}
