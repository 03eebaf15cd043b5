import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { expect, it } from "vitest";

const MIB = 1024 * 1024;
const HEAP = new URL("../../../src/core/heap.ts", import.meta.url);
const [quiet, stopped] = ["new AbortController().signal", "AbortSignal.abort()"];

/** A program that leaves some 40 MiB of garbage and then has nothing to do; resolves with how many there still are. */
async function leftOver(signal: string): Promise<number> {
  const program = `
    import { collectWhenQuiet } from "${HEAP}";
    const used = () => process.memoryUsage().heapUsed;
    const before = used();
    collectWhenQuiet(${signal}, { quiet_ms: 2_000 });
    Array.from({ length: 400_000 }, (_, i) => ({ i, text: \`\${i}\` }));
    setTimeout(() => console.log(used() - before), 5_000);`;
  const argv = ["--import", "tsx", "--input-type=module", "--eval", program];
  const { stdout } = await promisify(execFile)(process.execPath, argv);
  return Number(stdout) / MIB;
}

it("what a busy moment leaves is collected once there is nothing to do, and not where that is over", async () => {
  const [collected, left] = await Promise.all([leftOver(quiet), leftOver(stopped)]);
  expect(collected).toBeLessThan(10);
  expect(left).toBeGreaterThan(20);
});
