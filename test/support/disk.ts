import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe } from "vitest";

/** A disk of its own, in memory. Whoever mounts it takes it down again. */
export type Disk = {
  readonly folder: string;
  readOnly(): void;
  grow(size: string): void;
  clear(): void;
};

export function mountDisk(size: string): Disk {
  const folder = mkdtempSync(join(tmpdir(), "disk-"));
  const mount = (options: string): void => {
    execFileSync("mount", ["-t", "tmpfs", "-o", options, "none", folder], { stdio: "pipe" });
  };
  try {
    mount(`size=${size}`);
  } catch (reason) {
    rmSync(folder, { recursive: true });
    throw reason;
  }
  return {
    folder,
    readOnly: () => mount("remount,ro"),
    grow: (larger) => mount(`remount,size=${larger}`),
    clear() {
      execFileSync("umount", [folder], { stdio: "pipe" });
      rmSync(folder, { recursive: true });
    },
  };
}

/** `describe` for a suite that mounts disks, which not everybody may. In CI it is never skipped. */
export function describeWithDisks(name: string, suite: () => void): void {
  const skipped = process.env["CI"] === undefined && !mayMount();
  describe.skipIf(skipped)(skipped ? `${name} (only root may mount)` : name, suite);
}

function mayMount(): boolean {
  try {
    mountDisk("16k").clear();
    return true;
  } catch {
    return false;
  }
}
