import { describe, expect, it } from "vitest";
import * as z from "zod";
import { Fault } from "../../../../src/core/fault.ts";
import { loadSettings } from "../../../../src/core/settings/load.ts";
import { load, problems, read } from "./folder.ts";

describe("looking for settings", () => {
  it("takes the .yml and .json files of a folder in the order of their names [settings 1]", async () => {
    const files = {
      "002.json": '{"who": "second", "json": true}',
      "001.yml": "who: first\nyml: true",
      "010.yml": "last: true",
      "003.yaml": "who: nobody",
      "003.yml.bak": "who: nobody",
      "sub/004.yml": "who: nobody",
      "005.yml/inside.yml": "who: nobody",
    };
    expect(await read(files)).toEqual({ who: "second", yml: true, json: true, last: true });
  });

  it("takes folders and files from left to right, and ignores empty items", async () => {
    const files = { "a/1.yml": "who: a\na: 1", "b.yml": "who: b\nb: 1", "c/1.yml": "who: c" };
    expect(await read(files, { items: ["a", "b.yml", "c"] })).toEqual({ who: "c", a: 1, b: 1 });
    expect(await read(files, { items: ["c", "a", "b.yml"] })).toEqual({ who: "b", a: 1, b: 1 });
  });

  it.each([undefined, "", ":", "::"])(
    "says how to set the variable when it is %j",
    async (value) => {
      const outcome = loadSettings(z.unknown(), "EPS_SETTINGS", { EPS_SETTINGS: value });
      await expect(outcome).rejects.toThrow(Fault);
      await expect(outcome).rejects.toMatchObject({
        fault: "settings",
        message:
          'EPS_SETTINGS is not set. It names the folder(s) with the settings, separated by ":", ' +
          "for example:\n  EPS_SETTINGS=settings/dev/roles/hd-1 eps server run",
      });
    },
  );

  it("shows the command that goes with the variable", async () => {
    await expect(loadSettings(z.unknown(), "SD_SETTINGS", {})).rejects.toThrow(
      "SD_SETTINGS=settings/dev/roles/sd-1 sd run",
    );
    await expect(loadSettings(z.unknown(), "PROXY_SETTINGS", {})).rejects.toThrow(
      "PROXY_SETTINGS=settings/dev/roles/public-proxy-1 proxy run public",
    );
  });

  it("names every path that does not exist, and the one that was meant", async () => {
    const files = { "hd-1/1.yml": "a: 1" };
    expect(await problems(files, { items: ["hd_1", "nowhere", "hd-1"] })).toEqual([
      '~/hd_1: there is no such file or folder (did you mean "hd-1"?)',
      "~/nowhere: there is no such file or folder",
    ]);
  });

  it("refuses a file that is neither .yml nor .json [settings 1]", async () => {
    expect(await problems({ "a.yaml": "a: 1" }, { items: ["a.yaml"] })).toEqual([
      "~/a.yaml: a settings file must end in .yml or .json",
    ]);
  });

  it("warns of an empty folder, and refuses nothing but empty folders", async () => {
    const files = { "a/readme.md": "", "b/1.yml": "x: 1" };
    const { settings, warnings } = await load(z.unknown(), files, { items: ["a", "b"] });
    expect(settings).toEqual({ x: 1 });
    expect(warnings).toEqual([expect.stringMatching(/\/a: holds no \.yml or \.json file$/)]);
    await expect(load(z.unknown(), files, { items: ["a"] })).rejects.toThrow(
      "TEST_SETTINGS=~/a holds no settings, in no .yml or .json file",
    );
  });

  it("takes an empty file for one that changes nothing", async () => {
    expect(await read({ "1.yml": "a: 1", "2.yml": "# nothing yet\n", "3.yml": "" })).toEqual({
      a: 1,
    });
  });

  it("freezes what it returns, to the last list", async () => {
    const schema = z.strictObject({
      a: z.strictObject({ b: z.array(z.strictObject({ c: z.number() })) }),
    });
    const { settings } = await load(schema, { "1.yml": "a: {b: [{c: 1}]}" });
    expect(Object.isFrozen(settings)).toBe(true);
    expect(Object.isFrozen(settings.a)).toBe(true);
    expect(Object.isFrozen(settings.a.b)).toBe(true);
    expect(() => Object.assign(settings.a.b[0] ?? {}, { c: 2 })).toThrow(TypeError);
  });
});
