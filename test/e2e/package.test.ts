import { execFileSync, spawnSync } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { existsSync } from "node:fs";
import { chmod, mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ChangeRecord } from "../../src/directory/record.ts";
import { Authority } from "../support/certificates.ts";
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

  /** The modules that are not in the package and that its declarations of types name. */
  async function typesUsed(): Promise<string[]> {
    const named = new Set<string>();
    for (const file of files.filter((each) => each.endsWith(".d.ts"))) {
      const text = await readFile(join(unpacked(), file), "utf8");
      for (const [, name = ""] of text.matchAll(/^(?:im|ex)port .* from "([^."][^"]*)"/gm))
        named.add(name);
    }
    return [...named].sort();
  }

  beforeAll(async () => {
    const told = execFileSync("npm", ["pack", "--json", "--pack-destination", folder], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe"],
    });
    const [{ filename }] = JSON.parse(told);
    execFileSync("tar", ["-xzf", join(folder, filename), "-C", folder]);
    files = await readdir(unpacked(), { recursive: true });
  });

  it("holds what the programs need and what explains them, and nobody's keys", () => {
    expect(files).toEqual(
      expect.arrayContaining([
        "CHANGELOG.md",
        "LICENSE",
        "README.md",
        "dist/THIRD-PARTY-NOTICES.txt",
        "dist/bin/eps.js",
        "proto/eps.proto",
        "settings/README.md",
        "settings/dev/roles/hd-1/001_default.yml",
        "settings/production/systemd/eps.service",
      ]),
    );
    expect(files.filter((file) => /\.(key|crt|log)$|(?<!\.d)\.ts$/.test(file))).toEqual([]);
  });

  it("asks npm for nothing but what each machine has another of, and may go without", async () => {
    const { dependencies, optionalDependencies } = JSON.parse(
      await readFile(join(unpacked(), "package.json"), "utf8"),
    );
    expect(dependencies).toBe(undefined);
    expect(Object.keys(optionalDependencies)).toEqual(["bufferutil", "koffi", "zeromq"]);
  });

  it("says under which licences it contains the packages that it uses", async () => {
    const notices = await readFile(join(unpacked(), "dist/THIRD-PARTY-NOTICES.txt"), "utf8");
    const parts = notices.split(`\n${"-".repeat(80)}\n`).slice(1);
    const names = parts.map((part) => /^\n(\S+) [\d.]+, (\S+)\n/.exec(part)?.[1]);
    expect(names).toEqual(expect.arrayContaining(["@grpc/grpc-js", "fastify", "ws", "zod"]));
    expect(parts.find((_, n) => names[n] === "ws")).toContain("Copyright (c) 2011 Einar");
  });

  it("gives programs an agent of their own, with its types", async () => {
    const { exports } = JSON.parse(await readFile(join(unpacked(), "package.json"), "utf8"));
    for (const file of Object.values<string>(exports["."])) {
      expect(files).toContain(file.replace("./", ""));
    }
    expect(await typesUsed()).toEqual(["node:net", "node:stream", "node:tls"]);
    const script = join(unpacked(), "library.mjs");
    await writeFile(
      script,
      'import { echo, forward, poolAgent } from "eps-broker";\n' +
        'const agent = poolAgent({ relay: "127.0.0.1:1", handler: echo() });\n' +
        'console.log(typeof forward("localhost", 22).serve, agent.count.waiting);\n' +
        "await agent[Symbol.asyncDispose]();\n",
    );
    expect(node(script)).toMatchObject({ status: 0, stdout: "function 0\n" });
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

describeWith(["openssl", "sha256sum"], "the guide to production", () => {
  it("names files that exist and shows commands and records that are right", async () => {
    const guide = await readFile(join(PRODUCTION, "README.md"), "utf8");
    for (const [, target = ""] of guide.matchAll(/\]\(([^)#]+)\)/g)) {
      expect(existsSync(join(PRODUCTION, target)), target).toBe(true);
    }
    await using authority = await Authority.open();
    const { certificate_file = "" } = await authority.issue("hd-2");
    const command = /^ *(openssl x509 .*)$/m.exec(guide)?.[1] ?? "";
    const told = execFileSync("sh", ["-c", command.replace("hd-2.new.crt", certificate_file)], {
      encoding: "utf8",
    });
    const { fingerprint256 } = new X509Certificate(await readFile(certificate_file));
    expect(told).toBe(`${fingerprint256.replaceAll(":", "").toLowerCase()}  -\n`);
    const json = /```json\n([\s\S]*?)```/.exec(guide)?.[1] ?? "";
    const { records } = JSON.parse(json);
    expect(ChangeRecord.array().min(1).parse(records)).toEqual(records);
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
    ["eps-agent@.service", "eps-agent@web.service"],
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
    if (file === "eps-agent@.service") return; // it has flags instead, which nobody reads again
    expect(text).toMatch(/^Environment=(SD|EPS|PROXY)_SETTINGS=/m);
    expect(text).toMatch(/^ExecReload=.*-HUP/m);
  });
});
