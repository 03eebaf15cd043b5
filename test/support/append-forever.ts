import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

/** One line for each batch that the child was told is on disk. */
export type Acknowledged = { batch: number; size: number };

/**
 * A process of its own that appends batches of one to three entries until it is killed, and says
 * on its standard output which of them were acknowledged. It runs the built store, because Node 20
 * cannot run TypeScript. `limit_kib` is how large the file may become (`ulimit -f`).
 */
export function appendForever(
  filename: string,
  { limit_kib }: { limit_kib?: number } = {},
): { child: ChildProcess; lines: AsyncIterable<string> } {
  const built = new URL("../../dist/store/file.js", import.meta.url);
  if (!existsSync(built)) throw new Error("dist/ is missing: run `make build` first");
  const args = ["--input-type=module", "--eval", PROGRAM, pathToFileURL(built.pathname).href];
  const child =
    limit_kib === undefined
      ? spawn(process.execPath, [...args, filename], { stdio: ["ignore", "pipe", "inherit"] })
      : spawn(
          "bash",
          // Ignoring the signal turns "you are over the limit" into an error of the write.
          ["-c", `trap '' XFSZ; ulimit -f ${limit_kib}; exec "$0" "$@"`, process.execPath, ...args, filename],
          { stdio: ["ignore", "pipe", "inherit"] },
        );
  if (!child.stdout) throw new Error("no output to read");
  return { child, lines: createInterface({ input: child.stdout }) };
}

export function textOf(batch: number, index: number, size: number): string {
  // From less than a chunk to several, so that a kill can fall between two chunks of an entry.
  return `${batch}/${index}/${size} ${"x".repeat((batch * 97) % 900)}`;
}

const PROGRAM = `
  import { writeSync } from "node:fs";
  const [built, filename] = process.argv.slice(1);
  const { openFileStore } = await import(built);
  const log = { error() {}, warn() {} };
  const store = await openFileStore({ filename }, { log });
  const textOf = ${textOf};
  const first = (await store.read()).length;
  writeSync(1, "open " + process.pid + "\\n");
  for (let batch = first; ; batch += 1) {
    const size = 1 + (batch % 3);
    const entries = Array.from({ length: size }, (_, index) => ({
      type: 1,
      id: Buffer.from("0123456789abcdef"),
      data: Buffer.from(textOf(batch, index, size)),
    }));
    try {
      await store.append(entries);
      writeSync(1, "stored " + batch + "\\n");
    } catch (reason) {
      writeSync(1, "failed " + batch + " " + reason.message + "\\n");
      if (batch > first + 200) break;
    }
  }
`;
