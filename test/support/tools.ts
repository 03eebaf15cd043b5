import { spawnSync } from "node:child_process";
import { describe } from "vitest";

/**
 * `describe` for a suite that needs programs which not every machine has. Without them it is skipped
 * and its name says how to get them; in CI, where nothing may be skipped, it runs and fails.
 */
export function describeWith(programs: string[], name: string, suite: () => void): void {
  const missing = programs.filter((each) => spawnSync(each, ["--version"]).error !== undefined);
  const skipped = missing.length > 0 && process.env["CI"] === undefined;
  const reason = ` (needs ${missing.join(", ")}: make test-deps)`;
  describe.skipIf(skipped)(skipped ? name + reason : name, suite);
}
