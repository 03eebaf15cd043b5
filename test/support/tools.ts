import { spawnSync } from "node:child_process";
import { describe } from "vitest";

/** The interpreter of Debian's packages, not one that somebody put in front of it on the PATH. */
export const PYTHON = "/usr/bin/python3";

/** As `describeWith`, for a suite that needs modules of Python. */
export function describeWithPython(modules: string[], name: string, suite: () => void): void {
  const missing = modules.filter(
    (each) => spawnSync(PYTHON, ["-c", `import ${each}`]).status !== 0,
  );
  describeIfThere(missing, name, suite);
}

/**
 * `describe` for a suite that needs programs which not every machine has. Without them it is skipped
 * and its name says how to get them; in CI, where nothing may be skipped, it runs and fails.
 */
export function describeWith(programs: string[], name: string, suite: () => void): void {
  const missing = programs.filter((each) => spawnSync(each, ["--version"]).error !== undefined);
  describeIfThere(missing, name, suite);
}

function describeIfThere(missing: string[], name: string, suite: () => void): void {
  const skipped = missing.length > 0 && process.env["CI"] === undefined;
  const reason = ` (needs ${missing.join(", ")}: make test-deps)`;
  describe.skipIf(skipped)(skipped ? name + reason : name, suite);
}
