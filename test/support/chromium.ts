import { execFile } from "node:child_process";
import { mkdtemp } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";

const PATIENCE_MS = 60_000;

/**
 * What a page looks like in Debian's Chromium once it is loaded, and what the browser complains of. It
 * trusts whom the database in `home` trusts, and leaves its profile there. It knows no name but those
 * that the rules `only` give an address.
 */
export async function loaded(
  url: string,
  { home, only = "" }: { home: string; only?: string },
): Promise<{ stdout: string; stderr: string }> {
  const flags = [
    ...["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"],
    ...["--disable-background-networking", "--disable-component-update", "--disable-sync"],
    ...["--disable-dev-shm-usage", `--user-data-dir=${await mkdtemp(join(home, "profile-"))}`],
    `--host-resolver-rules=${only}MAP * ~NOTFOUND, EXCLUDE 127.0.0.1`,
    ...["--dump-dom", url],
  ];
  const env = { ...process.env, HOME: home, XDG_DATA_HOME: join(home, "share") };
  const options = { env, timeout: PATIENCE_MS, killSignal: "SIGKILL", maxBuffer: 64e6 } as const;
  return await promisify(execFile)("chromium", flags, options);
}
