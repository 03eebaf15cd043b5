import { closeSync, openSync, readFileSync, readSync } from "node:fs";

const CHUNK = 1024 * 1024;
/** Areas of the kernel's that nobody may read. */
const KERNELS = /\[(vvar|vvar_vclock|vsyscall)\]$/;

/** How often some bytes stand in all that a process has in memory that can be read; Linux only. */
export function findInMemory(pid: number, wanted: Buffer): number {
  const maps = readFileSync(`/proc/${pid}/maps`, "latin1").trim().split("\n");
  const memory = openSync(`/proc/${pid}/mem`, "r");
  try {
    return maps.reduce((sum, map) => {
      const [, from = "0", to = "0"] = /^(\w+)-(\w+) r/.exec(map) ?? [];
      if (KERNELS.test(map)) return sum;
      return sum + findBetween(memory, [BigInt(`0x${from}`), BigInt(`0x${to}`)], wanted);
    }, 0);
  } finally {
    closeSync(memory);
  }
}

function findBetween(memory: number, [from, to]: [bigint, bigint], wanted: Buffer): number {
  const overlap = wanted.length - 1;
  const bytes = Buffer.alloc(overlap + CHUNK);
  let found = 0;
  for (let at = from; at < to; at += BigInt(CHUNK)) {
    const length = Math.min(CHUNK, Number(to - at));
    let size = 0;
    try {
      size = readSync(memory, bytes, overlap, length, at);
    } catch (reason) {
      if (["EIO", "EFAULT"].includes(`${(reason as NodeJS.ErrnoException).code}`)) return found; // it is gone, or a guard
      throw reason;
    }
    const seen = bytes.subarray(0, overlap + size);
    for (let i = seen.indexOf(wanted); i >= 0; i = seen.indexOf(wanted, i + wanted.length))
      found += 1;
    bytes.copyWithin(0, size, size + overlap); // what stands across two chunks counts as well
  }
  return found;
}
