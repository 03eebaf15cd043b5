import { spawnSync } from "node:child_process";
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Town } from "../../src/roles/dev/town.ts";
import { foundTown, GATEWAY, settingsWithCertificates, startPing } from "../support/town.ts";

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

const ping = (whom = "hd-2") =>
  town.call({ role: "hd-1", port: GATEWAY["hd-1"] }, { method: `${whom}._ping` });

describe("a proxy that loses its endpoint", () => {
  it("keeps the circuits that there are, and says why there can be no others", async () => {
    expect(await ping()).toHaveProperty("result");
    await town.stop("public-proxy-eps-1");
    expect(await ping()).toHaveProperty("result");
    const wish = {
      to: "hd-2",
      channel: "grpc_server",
      _client: { name: "hd-1", entry: { name: "hd-1", channels: [] } },
    };
    const proxy = { role: "public-proxy-1.ga", port: 6655 };
    const answer = await town.call(proxy, { method: "requestConnection", params: wish });
    expect(answer).toMatchObject({
      error: { message: "the proxy cannot reach its own endpoint", data: { fault: "unreachable" } },
    });
    const told = town
      .program("public-proxy-1")
      .lines()
      .map(({ msg }) => msg);
    expect(told).toContain("the endpoint beside this proxy does not answer");
    await town.start("public-proxy-eps-1");
  });
});

describe("a program whose address is taken", () => {
  it("names the address and the setting, and exits with 2", async () => {
    await using other = await foundTown(settings.folder);
    const squatter = createServer().listen(other.port(9999), "127.0.0.1");
    try {
      await expect(other.start("public-proxy-1")).rejects.toThrow(
        /public-proxy-1 ended before it was ready[\s\S]*internal_bind_address[\s\S]*another program already listens/,
      );
      expect(await other.stop("public-proxy-1")).toBe(2);
    } finally {
      squatter.close();
    }
  });
});

describe("a demo that fails", () => {
  it("names the role, shows its last log lines and exits with something else than 0", async () => {
    const folder = await mkdtemp(join(tmpdir(), "eps-demo-"));
    try {
      await cp(settings.folder, folder, { recursive: true });
      const file = join(folder, "roles/hd-2/001_default.yml");
      await writeFile(file, (await readFile(file, "utf8")).replace("grpc_server", "grpc_sever"));
      const demo = spawnSync(process.execPath, ["dist/bin/dev.js", "demo", "--settings", folder], {
        encoding: "utf8",
        timeout: 60_000,
      });
      expect(demo.status).toBeGreaterThan(0);
      expect(demo.stdout).toContain("✗ hd-2 is ready");
      expect(demo.stderr).toMatch(/hd-2 ended before it was ready; its last log lines/);
      expect(demo.stderr).toContain('did you mean "grpc_server"?');
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});

describe("a demo that is kept", () => {
  it("ends with 0, says how to go on and how to stop, and has what it says running", async () => {
    const demo = spawnSync(
      process.execPath,
      ["dist/bin/dev.js", "demo", "--keep", "--settings", settings.folder],
      { encoding: "utf8", timeout: 60_000 },
    );
    const [, list = "", folder = ""] =
      /^ {2}kill ([\d ]+) && rm -r (\S+)$/m.exec(demo.stdout) ?? [];
    const pids = list.split(" ").map(Number);
    try {
      expect(demo.stderr).toBe("");
      expect(demo.status).toBe(0);
      expect(demo.stdout).toMatch(/curl --cert \S+hd-1\.crt/);
      expect(pids).toHaveLength(5);
      for (const pid of pids) expect(() => process.kill(pid, 0)).not.toThrow();
    } finally {
      for (const pid of pids) process.kill(pid, "SIGTERM");
      if (folder) await rm(folder, { recursive: true });
    }
  });
});
