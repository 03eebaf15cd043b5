import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import * as z from "zod";
import { live, openSettings } from "../../../../src/core/settings/live.ts";
import { defaultsOf, defaultTo, optional, text } from "../../../../src/core/settings/shapes.ts";
import { Folder } from "./folder.ts";

const VARIABLE = "LIVE_TEST_SETTINGS";
const Shop = z.strictObject({
  name: text,
  patience: live(defaultTo(10, z.number())),
  limits: live(defaultsOf(z.strictObject({ guests: defaultTo(3, z.number()) }))),
  door: optional(z.strictObject({ address: text, closed_on: live(optional(z.array(text))) })),
  rooms: z.array(
    z.discriminatedUnion("type", [
      z.strictObject({ type: z.literal("hall"), seats: live(z.number()), floor: z.number() }),
      z.strictObject({ type: z.literal("yard") }),
    ]),
  ),
});

const BASE = `
name: corner
door: { address: ":1" }
rooms:
  - { type: yard }
  - { type: hall, seats: 5, floor: 1 }
`;

let folder: Folder;
const write = (yml: string): Promise<void> => writeFile(join(folder.path, "001.yml"), yml);

beforeEach(async () => {
  folder = await Folder.with({ "001.yml": BASE });
  process.env[VARIABLE] = folder.path;
});
afterEach(async () => {
  delete process.env[VARIABLE];
  await folder[Symbol.asyncDispose]();
});

describe("settings that are read again", () => {
  it("are seen through the view that was given out at the start", async () => {
    const { settings, renew } = await openSettings(Shop, VARIABLE);
    const { door, rooms } = settings;
    const [, hall] = rooms as [unknown, { seats: number }];
    expect([settings.patience, settings.limits.guests, door?.closed_on]).toEqual([
      10,
      3,
      undefined,
    ]);
    await write(
      `${BASE.replace('":1"', '":1", closed_on: [sunday]').replace("seats: 5", "seats: 50")}
patience: 20
limits: { guests: 4 }`,
    );
    expect(await renew()).toEqual({
      taken: ["patience", "limits", "door: closed_on", "rooms: hall: seats"],
      left: [],
      warnings: [],
    });
    expect([settings.patience, settings.limits.guests, hall.seats]).toEqual([20, 4, 50]);
    expect(door?.closed_on).toEqual(["sunday"]);
    await write(BASE);
    await renew();
    expect([settings.patience, settings.limits.guests, hall.seats]).toEqual([10, 3, 5]);
    expect(door?.closed_on).toBeUndefined();
  });

  it("keep what cannot change at once, and name it each time", async () => {
    const { settings, renew } = await openSettings(Shop, VARIABLE);
    await write(`${BASE.replace("corner", "square").replace("floor: 1", "floor: 2")}patience: 9`);
    for (const taken of [["patience"], []]) {
      expect(await renew()).toMatchObject({ taken, left: ["name", "rooms: hall: floor"] });
    }
    expect(settings).toMatchObject({ name: "corner", patience: 9 });
    expect(settings.rooms[1]).toMatchObject({ floor: 1 });
  });

  it.each([
    ["a part that comes", `${BASE.replace('door: { address: ":1" }', "")}`, "door"],
    ["other items of a list", BASE.replace("- { type: yard }", ""), "rooms"],
    ["another order of a list", BASE.replace(/( {2}- .*\n)( {2}- .*\n)/, "$2$1"), "rooms"],
  ])("leave %s to the next start", async (_, changed, left) => {
    const { settings, renew } = await openSettings(Shop, VARIABLE);
    await write(changed.replace("seats: 5", "seats: 6"));
    expect((await renew()).left).toEqual([left]);
    expect(settings.door?.address).toBe(":1");
    expect(settings.rooms.map(({ type }) => type)).toEqual(["yard", "hall"]);
  });

  it("change nothing at all if anything is wrong with them", async () => {
    const { settings, renew } = await openSettings(Shop, VARIABLE);
    await write(`${BASE}patience: 20\nlimits: { guests: many }`);
    await expect(renew()).rejects.toMatchObject({
      fault: "settings",
      message: expect.stringMatching(/a problem in the settings .*\n.*001\.yml:8:\d+.*guests/),
    });
    await rm(join(folder.path, "001.yml"));
    await expect(renew()).rejects.toMatchObject({ fault: "settings" });
    expect(settings.patience).toBe(10);
  });

  it("say what is unknown, and cannot be written to by those who use them", async () => {
    const { settings, renew } = await openSettings(Shop, VARIABLE);
    await write(`${BASE}patients: 20`);
    expect((await renew()).warnings).toHaveLength(1);
    expect(() => Object.assign(settings, { patience: 1 })).toThrow();
    expect(() => Object.assign(settings.limits, { guests: 1 })).toThrow();
    expect(() => Object.assign(settings.rooms[1] ?? {}, { seats: 1 })).toThrow();
  });
});
