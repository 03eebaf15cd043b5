import { copyFile, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Town } from "../../src/roles/dev/town.ts";
import { foundTown, settingsWithCertificates, submit } from "../support/town.ts";

let settings: Awaited<ReturnType<typeof settingsWithCertificates>>;
let town: Town;

beforeAll(async () => {
  settings = await settingsWithCertificates();
  town = await foundTown(settings.folder);
  await Promise.all([town.start("sd-1"), town.start("hd-1")]);
  await town.setUp();
});
afterAll(async () => {
  await town[Symbol.asyncDispose]();
  await settings[Symbol.asyncDispose]();
});

const data = (role: string): string => join(town.folder, "settings", "data", `${role}.log`);
const backup = (): string => join(town.folder, "backup.log");

async function records(port: number): Promise<unknown[]> {
  const call = { method: "getRecords", params: { after: "" } };
  const answer = await town.call({ role: "sd-1", port, as: "hd-1" }, call);
  return (answer as { result: unknown[] }).result;
}

describe("a directory's file, copied while it is in use", () => {
  it("is a directory with the same records for another sd", async () => {
    const before = await records(3322);
    await copyFile(data("sd-1"), backup());
    // A machine that takes over: the same settings, another address, and the copy as its data.
    const text = await readFile(join(town.settings("sd-1"), "001_default.yml"), "utf8");
    const spare = 5051;
    await mkdir(town.settings("sd-2"), { recursive: true });
    await writeFile(
      join(town.settings("sd-2"), "001_default.yml"),
      text
        .replace("data/sd-1.log", "data/sd-2.log")
        .replace(/^metrics:\n +bind_address:.*\n/m, "")
        .replace(`localhost:${town.port(3322)}`, `localhost:${town.port(spare)}`),
    );
    await copyFile(backup(), data("sd-2"));
    await town.start("sd-2");
    expect(before.length).toBeGreaterThan(20);
    expect(await records(spare)).toEqual(before);
    await town.stop("sd-2");
  });

  it("is refused when it is older than what endpoints know, until the directory begins anew", {
    timeout: 90_000,
  }, async () => {
    const created_at = new Date().toISOString();
    await submit(town, { section: "settings", name: "hd-2", created_at, data: [] });
    await town.stop("sd-1");
    await town.said("hd-1", "without news", ({ msg }) => msg.startsWith("no news"));
    await copyFile(backup(), data("sd-1"));
    await town.start("sd-1");
    const warned = await town.said("hd-1", "wary of the old directory", ({ reason }) =>
      /rolled back to record \d+ of \d+/.test(String(reason)),
    );
    expect(warned).toMatchObject({
      level: "warn",
      msg: "no news from the directory; going on with what is known",
    });
    await town.setUp();
    const begun = "the service directory began anew";
    await town.said("hd-1", "following again", ({ msg }) => msg === begun);
  });
});
