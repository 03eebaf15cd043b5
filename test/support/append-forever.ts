import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import type { DatastoreSettings } from "../../src/store/settings.ts";

/**
 * A process of its own that appends batches of one to three entries until it is killed. Its lines:
 * `open <pid>` or `refused <why>`, then `stored <batch>` for each batch it was told is on disk, or `failed <batch> <why>`.
 * An entry's text begins with `<batch>/<index>/<size of the batch>`.
 *
 * With `limit_kib` the file may not become larger than that, and the process ends after `batches_max` batches.
 */
export function appendForever(
  store: DatastoreSettings,
  { limit_kib, batches_max = 1e9 }: { limit_kib?: number; batches_max?: number } = {},
): { child: ChildProcess; lines: AsyncIterable<string> } {
  const opens = new URL("../../src/store/open.ts", import.meta.url);
  const limits = limit_kib === undefined ? "" : `trap '' XFSZ; ulimit -f ${limit_kib};`;
  const child = spawn(
    "bash",
    // Where the signal is ignored, a write over the limit becomes an error of that write.
    [
      ...["-c", `${limits} exec "$0" "$@"`, process.execPath],
      ...[
        "--import=tsx",
        "--input-type=module",
        "--eval",
        PROGRAM,
        opens.href,
        JSON.stringify(store),
        String(batches_max),
      ],
    ],
    { stdio: ["ignore", "pipe", "inherit"] },
  );
  return { child, lines: createInterface({ input: child.stdout }) };
}

const PROGRAM = `
  import { writeSync } from "node:fs";
  const [opens, settings, batches_max] = process.argv.slice(1);
  const { openStore } = await import(opens);
  const log = { error() {}, warn() {}, child: () => log };
  const opening = openStore(JSON.parse(settings), { log });
  const store = await opening.catch((reason) => {
    writeSync(1, "refused " + reason.message + "\\n");
    process.exit(1);
  });
  const first = (await store.read()).length;
  writeSync(1, "open " + process.pid + "\\n");
  for (let batch = first; batch < first + Number(batches_max); batch += 1) {
    const size = 1 + (batch % 3);
    const entries = Array.from({ length: size }, (_, index) => ({
      type: 1,
      id: Buffer.from("0123456789abcdef"),
      // From less than a chunk to several, so that a kill can fall between two chunks of an entry.
      data: Buffer.from(batch + "/" + index + "/" + size + " " + "x".repeat((batch * 97) % 900)),
    }));
    await store.append(entries).then(
      () => writeSync(1, "stored " + batch + "\\n"),
      (reason) => writeSync(1, "failed " + batch + " " + reason.message + "\\n"),
    );
  }
`;
