import { cp, mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { makeCertificates } from "../../src/roles/dev/certificates.ts";
import { Program } from "../../src/roles/dev/processes.ts";
import { moveToFreePorts, Town } from "../../src/roles/dev/town.ts";
import { type Redis, startRedis } from "../support/redis.ts";
import { describeWith } from "../support/tools.ts";
import { GATEWAY, hd2Connected, PING_ROLES } from "../support/town.ts";
import { jsonDirectory } from "./original/certificates.ts";
import { OriginalEndpoint } from "./original/endpoint.ts";

const OTHER_ROLES = ["ls-1", "private-proxy-1", "private-proxy-eps-1"];

describeWith(["redis-server"], "the settings of an original deployment", () => {
  let folder: string;
  let town: Town;
  let redis: Redis;
  const signal = new AbortController().signal;
  const programs: Program[] = [];

  /** Runs `eps server run` as an original is run: with this value of EPS_SETTINGS, and more. */
  const run = async (name: string, env: NodeJS.ProcessEnv): Promise<Program> => {
    const argv = ["eps", "server", "run"];
    const program = new Program(name, {
      argv,
      env: { ...process.env, ...env },
      logs: folder,
      keep: false,
    });
    programs.push(program);
    await program.said(({ msg }) => msg === "ready", { what: "ready", within_ms: 20_000 }, signal);
    return program;
  };

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "eps-original-"));
    await cp("test/interop/original-settings", folder, { recursive: true });
    const dev = { certs: join(folder, "dev/certs"), directory: join(folder, "dev/directory") };
    await makeCertificates(dev, { keys: "rsa", force: false }, () => {});
    await mkdir(join(folder, "test/certs"));
    await cp(dev.certs, join(folder, "test/certs"), { recursive: true });
    const pins = "directory/002_certificates.json";
    await cp(join(folder, "dev", pins), join(folder, "test", pins));
    town = await Town.found(join(folder, "dev"), { keep: false, signal });
    redis = await startRedis(undefined, { at: town.port(6379) });
  });
  afterAll(async () => {
    await Promise.all(programs.map((program) => program.stop()));
    await town[Symbol.asyncDispose]();
    await redis.clear();
    await rm(folder, { recursive: true });
  });

  it("start all our programs, and a ping arrives [settings 1]", { timeout: 60_000 }, async () => {
    for (const role of [...PING_ROLES, ...OTHER_ROLES]) await town.start(role);
    await town.setUp();
    await hd2Connected(town);
    const ping = { method: "hd-2._ping", params: { n: 1 } };
    expect(await town.call({ role: "hd-1", port: GATEWAY["hd-1"] }, ping)).toMatchObject({
      result: { serverInfo: { name: "hd-2" }, params: { n: 1, _client: { name: "hd-1" } } },
    });
  });

  it("leave the directory in Redis, under the original's key, one element for each record [stores 2]", async () => {
    const answer = await town.call(
      { role: "sd-1", port: 3322, as: "hd-1" },
      { method: "getRecords" },
    );
    const { result } = answer as { result: unknown[] };
    expect(result.length).toBeGreaterThan(20);
    expect((await redis.say("LLEN", "sd-entries")).toString()).toBe(`:${result.length}\r\n`);
  });

  it("lead from one proxy to the other", async () => {
    const announce = {
      method: "private-proxy-1.ga.announceConnection",
      params: {
        domain: "test.internal-server.local",
        proxy: "public-proxy-1.ga",
        expires_at: null,
      },
    };
    expect(await town.call({ role: "hd-1", port: GATEWAY["hd-1"] }, announce)).toEqual({
      result: "ok",
    });
    expect((await redis.say("LLEN", "public-proxy-entries")).toString()).toBe(":1\r\n");
    expect((await redis.say("LLEN", "private-proxy-entries")).toString()).toBe(":1\r\n");
  });

  it("hide the backend of a location service behind its first channel", async () => {
    const add = { method: "ls-1.add", params: { id: "x" } };
    expect(await town.call({ role: "ls-1", port: 5557 }, add)).toEqual({
      result: { message: "submitted" },
    });
  });

  it("warn of keys without effect, and of nothing else", () => {
    const warned = town
      .program("hd-1")
      .lines()
      .filter(({ msg }) => /unknown|without effect/i.test(msg));
    expect(JSON.stringify(warned)).toMatch(/validate_client/);
    expect(
      town
        .program("hd-1")
        .lines()
        .filter(({ level }) => level === "error"),
    ).toEqual([]);
  });

  it("start the ninth role in the place of hd-1, whose port it shares", async () => {
    await town.stop("hd-1");
    await town.start("op-1");
    await town.stop("op-1");
  });

  it("may take the name of the operator from the environment", async () => {
    const settings = join(town.folder, "settings/001_default.yml");
    const program = await run("by-environment", { EPS_SETTINGS: settings, EPS_OP: "hd-1" });
    expect(program.lines().find(({ msg }) => msg === "ready")).toMatchObject({ operator: "hd-1" });
    expect(await program.stop()).toBe(0);
  });

  it("may lie in several folders, with a directory in files, and RSA keys under any TLS [grpc 2]", async () => {
    const settings = join(folder, "test");
    const ports = await moveToFreePorts(settings);
    const { OP: _, ...env } = process.env;
    for (const role of ["op-1", "hd-1"]) {
      await run(`test-${role}`, { ...env, EPS_SETTINGS: `${settings}:${settings}/roles/${role}` });
    }
    const request = { method: "hd-1.add", id: "hd-1.add(1)", params: {} };
    const hd1 = { port: ports.get("4444") ?? 0, name: "hd-1" };
    for (const maxVersion of ["TLSv1.2", "TLSv1.3"] as const) {
      const op1 = new OriginalEndpoint("op-1", {
        certs: join(settings, "certs"),
        directory: jsonDirectory(join(settings, "directory")),
        tls: { maxVersion },
      });
      expect(await op1.call(hd1, request)).toEqual({ id: "hd-1.add(1)", result: {} });
      await op1[Symbol.asyncDispose]();
    }
  });
});
