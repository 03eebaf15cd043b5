import { explain, FAULTS, Fault } from "./fault.ts";

/** How long a role may take to close everything after it was asked to leave. */
const GRACE_MS = 10_000;

/**
 * Runs a command until it returns or the operating system asks it to leave (SIGINT, SIGTERM).
 *
 * A command whose settings promise to let something go on for a while says so by `mayDrain`.
 *
 * Never calls `process.exit` on the good path: once every scope has closed nothing keeps the process
 * alive, and buffered output still gets out. A second signal, or a close that hangs, ends it at once.
 * A fault becomes one line on standard error and the exit code that `FAULTS` gives it.
 */
export async function run(
  command: (signal: AbortSignal, mayDrain: (ms: number) => void) => Promise<void>,
): Promise<void> {
  const stop = new AbortController();
  let grace_ms = GRACE_MS;
  const mayDrain = (ms: number): void => {
    grace_ms = GRACE_MS + ms;
  };
  const leave = (): void => {
    if (stop.signal.aborted) process.exit(130);
    stop.abort(new Fault("unreachable", "the program is stopping"));
    setTimeout(() => {
      process.stderr.write(`error: did not close within ${grace_ms / 1000} s, leaving anyway\n`);
      process.exit(1);
    }, grace_ms).unref();
  };
  process.on("SIGINT", leave).on("SIGTERM", leave);
  try {
    await command(stop.signal, mayDrain);
  } catch (reason) {
    if (stop.signal.aborted && reason === stop.signal.reason) return;
    const fault = Fault.from(reason);
    process.stderr.write(`error: ${explain(fault)}\n`);
    if (fault.fault === "internal" && fault.cause instanceof Error) {
      process.stderr.write(`${fault.cause.stack}\n`);
    }
    process.exitCode = FAULTS[fault.fault].exit;
  } finally {
    process.off("SIGINT", leave).off("SIGTERM", leave);
  }
}
