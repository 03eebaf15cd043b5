import { setTimeout as sleep } from "node:timers/promises";

const PATIENCE_MS = 10_000;
const POLL_MS = 5;

/** Waits for a condition, however long it takes within reason, and says what never came true. */
export async function until(
  holds: () => boolean | Promise<boolean>,
  what: string | (() => string),
): Promise<void> {
  const deadline = Date.now() + PATIENCE_MS;
  while (!(await holds())) {
    if (Date.now() > deadline) {
      throw new Error(`it never came true that ${typeof what === "string" ? what : what()}`);
    }
    await sleep(POLL_MS);
  }
}
