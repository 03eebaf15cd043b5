import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Town } from "../../src/roles/dev/town.ts";
import type { Answer } from "../../src/wire/answer.ts";
import {
  eventually,
  foundTown,
  GATEWAY,
  settingsWithCertificates,
  startPing,
  submit,
} from "../support/town.ts";

type ChangeRecord = { name: string; section: string; data: Array<Record<string, unknown>> };

let settings: Awaited<ReturnType<typeof settingsWithCertificates>>;
let town: Town;

beforeAll(async () => {
  settings = await settingsWithCertificates();
  town = await foundTown(settings.folder);
  await startPing(town);
});
afterAll(async () => {
  await town[Symbol.asyncDispose]();
  await settings[Symbol.asyncDispose]();
});

/** What the directory was set up with for one section of an operator. */
async function original(name: string, section: string): Promise<ChangeRecord> {
  for (const file of ["001_base.json", "002_certificates.json"]) {
    const { records } = JSON.parse(await readFile(join(town.directory, file), "utf8"));
    const found = records.find(
      (each: ChangeRecord) => each.name === name && each.section === section,
    );
    if (found) return found;
  }
  throw new Error(`the directory says nothing of ${section} of ${name}`);
}

const ping = (from: keyof typeof GATEWAY, whom: string): Promise<Answer> =>
  town.call({ role: from, port: GATEWAY[from] }, { method: `${whom}._ping` });
const arrives = (from: keyof typeof GATEWAY, whom: string): Promise<void> =>
  eventually(10_000, async () => expect(await ping(from, whom)).toHaveProperty("result"));

/** How often a role has said this of an operator until now. */
const count = (role: string, message: string, operator: string): number =>
  town
    .program(role)
    .lines()
    .filter((line) => line.msg === message && Object.values(line).includes(operator)).length;

/** Does something, and waits until a role says one thing more often than before. */
async function andThen(
  [role, message, operator]: [string, string, string],
  work: () => Promise<unknown>,
): Promise<void> {
  const before = count(role, message, operator);
  await work();
  await eventually(10_000, async () =>
    expect(count(role, message, operator), `${role}: ${message}`).toBeGreaterThan(before),
  );
}

describe("an operator whose certificate the directory no longer pins", () => {
  it("loses its circuits and reverse streams, and gets no others until it is pinned again", async () => {
    await arrives("hd-1", "hd-2");
    const pinned = await original("hd-1", "certificates");
    const signing = pinned.data.filter(({ key_usage }) => key_usage === "signing");
    await andThen(["public-proxy-1", "circuit ended", "hd-1"], () =>
      andThen(["public-proxy-eps-1", "reverse stream gone", "hd-1"], () =>
        submit(town, { ...pinned, data: signing }),
      ),
    );
    expect(await ping("hd-1", "hd-2")).toMatchObject({ error: { code: 500 } });
    expect(await ping("hd-2", "hd-1")).toMatchObject({ error: { code: 500 } });
    await submit(town, pinned);
    await arrives("hd-1", "hd-2");
    await arrives("hd-2", "hd-1");
  });

  it("loses the circuits that others opened to it", async () => {
    await arrives("hd-2", "hd-1");
    const pinned = await original("hd-1", "certificates");
    const signing = pinned.data.filter(({ key_usage }) => key_usage === "signing");
    const byHd2 = () =>
      town
        .program("public-proxy-1")
        .lines()
        .filter(({ msg, caller }) => msg === "circuit ended" && caller === "hd-2").length;
    const before = byHd2();
    await submit(town, { ...pinned, data: signing });
    await eventually(10_000, async () => expect(byHd2()).toBeGreaterThan(before));
    await submit(town, pinned);
    await arrives("hd-2", "hd-1");
  });
});

describe("an operator to whom the directory no longer permits anything", () => {
  it("has no reverse stream any more, and gets it back with the permission", async () => {
    const services = await original("hd-2", "services");
    await arrives("hd-1", "hd-2");
    await andThen(["public-proxy-eps-1", "reverse stream gone", "hd-2"], () =>
      submit(town, { ...services, data: [] }),
    );
    expect(await ping("hd-1", "hd-2")).toHaveProperty("error");
    await andThen(["public-proxy-eps-1", "reverse stream accepted", "hd-2"], () =>
      submit(town, services),
    );
    await arrives("hd-1", "hd-2");
  });
});
