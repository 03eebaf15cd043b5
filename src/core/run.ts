import { isatty } from "node:tty";
import { explain, FAULTS, Fault } from "./fault.ts";

/** How long a role may take to close everything after it was asked to leave. */
const GRACE_MS = 10_000;
const FOR_EVER_MS = 2 ** 31 - 1;

/** What a command may arrange with the process that runs it. */
export type Lifetime = {
  /** Milliseconds that closing may take beyond the usual, asked when it begins. */
  mayDrain(ms: () => number): void;
  onHangup(work: () => void): void;
};

/**
 * Runs a command until it returns or the operating system asks it to leave (SIGINT, SIGTERM).
 *
 * A command whose settings promise to let something go on for a while says so by `mayDrain`. One that
 * can read its settings again does so `onHangup`, which is SIGHUP; it ends others, and those whose
 * terminal was closed.
 *
 * Never calls `process.exit` on the good path: once every scope has closed nothing keeps the process
 * alive, and buffered output still gets out. A second signal, or a close that hangs, ends it at once.
 * A fault becomes one line on standard error and the exit code that `FAULTS` gives it.
 */
export async function run(
  command: (signal: AbortSignal, process: Lifetime) => Promise<void>,
): Promise<void> {
  const stop = new AbortController();
  const terminals = [0, 1, 2].filter((fd) => isatty(fd));
  let drain_ms = (): number => 0;
  let hangUp = (): void => {};
  const lifetime: Lifetime = {
    mayDrain: (ms) => {
      drain_ms = ms;
    },
    onHangup: (work) => {
      hangUp = () => {
        // The descriptor of a terminal that was closed is none any more.
        if (terminals.every((fd) => isatty(fd))) return work();
        process.off("SIGHUP", hangUp);
        process.kill(process.pid, "SIGHUP");
      };
      process.on("SIGHUP", hangUp);
    },
  };
  const leave = (): void => {
    if (stop.signal.aborted) process.exit(130);
    stop.abort(new Fault("unreachable", "the program is stopping"));
    const grace_ms = GRACE_MS + drain_ms();
    setTimeout(() => {
      process.stderr.write(`error: did not close within ${grace_ms / 1000} s, leaving anyway\n`);
      process.exit(1);
    }, grace_ms).unref();
  };
  const awake = setInterval(() => {}, FOR_EVER_MS); // a server that only waits holds nothing else open
  process.on("SIGINT", leave).on("SIGTERM", leave);
  try {
    await command(stop.signal, lifetime);
  } catch (reason) {
    if (stop.signal.aborted && reason === stop.signal.reason) return;
    const fault = Fault.from(reason);
    process.stderr.write(`error: ${explain(fault)}\n`);
    if (fault.fault === "internal" && fault.cause instanceof Error) {
      process.stderr.write(`${fault.cause.stack}\n`);
    }
    process.exitCode = FAULTS[fault.fault].exit;
  } finally {
    clearInterval(awake);
    process.off("SIGINT", leave).off("SIGTERM", leave).off("SIGHUP", hangUp);
  }
}
