import { execFile } from "node:child_process";
import { cp, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect } from "vitest";
import { makeCertificates } from "../../src/roles/dev/certificates.ts";
import { Town } from "../../src/roles/dev/town.ts";

export const GATEWAY = { "hd-1": 5555, "hd-2": 3334 } as const;
export const PING_ROLES = ["sd-1", "public-proxy-1", "public-proxy-eps-1", "hd-1", "hd-2"] as const;

/** A copy of `settings/dev` with certificates of its own, so that the user's stay untouched. */
export async function settingsWithCertificates(): Promise<AsyncDisposable & { folder: string }> {
  const folder = await mkdtemp(join(tmpdir(), "eps-settings-"));
  for (const part of ["roles", "directory"]) {
    await cp(join("settings/dev", part), join(folder, part), { recursive: true });
  }
  const folders = { certs: join(folder, "certs"), directory: join(folder, "directory") };
  await makeCertificates(folders, { keys: "ecdsa", force: false }, () => {});
  return {
    folder,
    async [Symbol.asyncDispose]() {
      await rm(folder, { recursive: true, force: true });
    },
  };
}

export async function foundTown(settings: string): Promise<Town> {
  return await Town.found(settings, { keep: false, signal: new AbortController().signal });
}

/** Starts all roles of the ping at once, sets the directory up, and waits until hd-2 can be called. */
export async function startPing(town: Town): Promise<void> {
  await Promise.all(PING_ROLES.map((role) => town.start(role)));
  await town.setUp();
  await hd2Connected(town);
}

export async function hd2Connected(town: Town): Promise<void> {
  await town.said("public-proxy-eps-1", "connected with hd-2", ({ msg, operator }) => {
    return msg === "reverse stream accepted" && operator === "hd-2";
  });
}

/** Calls hd-2 as hd-1, and throws if it is not hd-2 that answers. */
export async function pingHd2(town: Town): Promise<void> {
  const answer = await town.call({ role: "hd-1", port: GATEWAY["hd-1"] }, { method: "hd-2._ping" });
  if ("error" in answer) throw new Error(answer.error.message);
  expect(answer.result).toMatchObject({ serverInfo: { name: "hd-2" } });
}

/** Signs a change record and submits it to the town's directory, as an administrator does. */
export async function submit(town: Town, record: object): Promise<void> {
  const file = join(town.folder, "change.json");
  await writeFile(file, JSON.stringify({ records: [record] }));
  const env = { ...process.env, EPS_SETTINGS: town.settings("hd-1") };
  const argv = ["dist/bin/eps.js", "sd", "submit-records", file];
  await promisify(execFile)(process.execPath, argv, { env });
}

/** Tries until it works or time is up; then throws what went wrong last. */
export async function eventually<T>(within_ms: number, work: () => Promise<T>): Promise<T> {
  const until = Date.now() + within_ms;
  for (;;) {
    try {
      return await work();
    } catch (reason) {
      if (Date.now() > until) throw reason;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}
