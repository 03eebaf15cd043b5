import { execFileSync, spawnSync } from "node:child_process";
import { chmod, mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { describeWith } from "../support/tools.ts";

const PRODUCTION = "settings/production";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "eps-package-"));
});
afterAll(async () => {
  await rm(folder, { recursive: true });
});

describe("the npm package", () => {
  let files: string[];
  const unpacked = (): string => join(folder, "package");
  const node = (...args: string[]) =>
    spawnSync(process.execPath, args, { cwd: folder, encoding: "utf8", timeout: 60_000 });

  beforeAll(async () => {
    const told = execFileSync("npm", ["pack", "--json", "--pack-destination", folder], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe"],
    });
    const [{ filename }] = JSON.parse(told);
    execFileSync("tar", ["-xzf", join(folder, filename), "-C", folder]);
    files = await readdir(unpacked(), { recursive: true });
    await symlink(resolve("node_modules"), join(unpacked(), "node_modules"));
  });

  it("holds what the programs need and what explains them, and nobody's keys", () => {
    expect(files).toEqual(
      expect.arrayContaining([
        "CHANGELOG.md",
        "LICENSE",
        "README.md",
        "dist/bin/eps.js",
        "proto/eps.proto",
        "settings/README.md",
        "settings/dev/roles/hd-1/001_default.yml",
        "settings/production/systemd/eps.service",
      ]),
    );
    expect(files.filter((file) => /\.(key|crt|log|ts)$/.test(file))).toEqual([]);
  });

  it("asks npm for every package that it uses", async () => {
    const { dependencies } = JSON.parse(await readFile("package.json", "utf8"));
    const used = new Set<string>();
    for (const file of files.filter((each) => each.endsWith(".js"))) {
      const text = await readFile(join(unpacked(), file), "utf8");
      for (const [, name = ""] of text.matchAll(/(?:^import| from) "(@?[^."][^"]*)";/gm)) {
        const [scope = "", rest = ""] = name.split("/");
        used.add(scope.startsWith("@") ? `${scope}/${rest}` : scope);
      }
    }
    const others = [...used].filter((name) => !name.startsWith("node:"));
    expect(others.sort()).toEqual(Object.keys(dependencies).sort());
  });

  it("runs where nothing else of the project is", { timeout: 90_000 }, () => {
    for (const program of ["eps", "proxy", "sd"]) {
      const { stdout } = node(join(unpacked(), `dist/bin/${program}.js`), "version");
      expect(stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
    }
    expect(node(join(unpacked(), "dist/bin/sd.js"), "--help").stdout).toContain("Examples:");
    const dev = join(unpacked(), "dist/bin/dev.js");
    const demo = node(dev, "demo", "--settings", join(unpacked(), "settings/dev"));
    expect(demo.stderr).toBe("");
    expect(demo.stdout).toContain("✓ hd-1 pinged hd-2 through the proxy");
  });
});

describe("the Dockerfile", () => {
  it("copies nothing that the project does not have, and keys and data of nobody", async () => {
    const ignored = (await readFile(".dockerignore", "utf8")).split("\n");
    expect(ignored).toContain("*");
    for (const taken of ignored.filter((line) => line.startsWith("!"))) {
      expect(await readdir(".")).toContain(taken.slice(1));
    }
    expect(ignored).toEqual(expect.arrayContaining(["settings/dev/certs", "settings/dev/data"]));
  });
});

describeWith(["systemd-analyze"], "the systemd units", () => {
  const analyze = (...args: string[]) =>
    spawnSync("systemd-analyze", args, { encoding: "utf8", timeout: 20_000 });

  it.each([
    ["eps-sd.service", "eps-sd.service"],
    ["eps.service", "eps.service"],
    ["eps-proxy@.service", "eps-proxy@public.service"],
  ])("know %s as one that is in order and exposes little", async (file, instance) => {
    const text = await readFile(join(PRODUCTION, "systemd", file), "utf8");
    // The programs of this checkout, since nobody has installed them on this machine.
    const here = text.replace(/\/usr\/local\/bin\/(\w+)/g, (_, name) => join(folder, name));
    expect(here).not.toBe(text);
    const [, command = "", args = ""] = /^ExecStart=(\S+) (.*)$/m.exec(here) ?? [];
    const program = resolve("dist/bin", `${basename(command)}.js`);
    await rm(command, { force: true });
    await symlink(program, command);
    await chmod(program, 0o755);
    const unit = join(folder, instance);
    await writeFile(unit, here);

    expect(analyze("verify", unit)).toMatchObject({ status: 0, stderr: "" });
    const { status, stdout } = analyze("security", "--offline=true", "--threshold=20", unit);
    expect({ status, stdout }).toMatchObject({ status: 0 });
    const usage = spawnSync(command, [...args.replace("%i", "public").split(" "), "--help"]);
    expect(usage.status).toBe(0);
    expect(text).toMatch(/^Environment=(SD|EPS|PROXY)_SETTINGS=/m);
    expect(text).toMatch(/^ExecReload=.*-HUP/m);
  });
});
