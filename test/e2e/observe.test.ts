import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { connect } from "node:net";
import { connect as connectTls } from "node:tls";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Town } from "../../src/roles/dev/town.ts";
import { samples } from "../support/metrics.ts";
import {
  eventually,
  foundTown,
  GATEWAY,
  hd2Connected,
  PING_ROLES,
  settingsWithCertificates,
} from "../support/town.ts";

/** Where each role tells how it is, as the documented settings have it. */
const STATUS = {
  "hd-1": 2112,
  "hd-2": 2113,
  "sd-1": 2114,
  "public-proxy-1": 2115,
  "public-proxy-eps-1": 2116,
  "private-proxy-1": 2117,
  "private-proxy-eps-1": 2118,
} as const;
type Role = keyof typeof STATUS;
const PRIVATE: Role[] = ["private-proxy-1", "private-proxy-eps-1"];
const ROLES = Object.keys(STATUS) as Role[];
const NOTICE_MS = 10_000;

describe("programs that are looked at", () => {
  let settings: Awaited<ReturnType<typeof settingsWithCertificates>>;
  let town: Town;
  beforeAll(async () => {
    settings = await settingsWithCertificates();
    town = await foundTown(settings.folder);
  });
  afterAll(async () => {
    await town[Symbol.asyncDispose]();
    await settings[Symbol.asyncDispose]();
  });

  const get = (role: Role, path: string): Promise<Response> =>
    fetch(`http://localhost:${town.port(STATUS[role])}${path}`);
  const metrics = async (role: Role): Promise<string> => (await get(role, "/metrics")).text();
  const seen = async (role: Role) => samples(await metrics(role));
  /** The checks that fail, and why. */
  async function unready(role: Role): Promise<Record<string, string>> {
    const response = await get(role, "/readyz");
    const { ready, checks } = (await response.json()) as {
      ready: boolean;
      checks: Record<string, { ok: boolean; why: string }>;
    };
    expect(response.status).toBe(ready ? 200 : 503);
    expect((await get(role, "/healthz")).status).toBe(200);
    const failed = Object.entries(checks).filter(([, { ok }]) => !ok);
    return Object.fromEntries(failed.map(([name, { why }]) => [name, why]));
  }
  const ready = (...roles: Role[]): Promise<void> =>
    eventually(NOTICE_MS, async () => {
      for (const role of roles) expect(await unready(role), role).toEqual({});
    });
  const ping = () => town.call({ role: "hd-1", port: GATEWAY["hd-1"] }, { method: "hd-2._ping" });

  it("are not ready while nobody has shown them the directory, and are once it is there", {
    timeout: 60_000,
  }, async () => {
    await Promise.all([town.start("hd-1"), town.start("public-proxy-1")]);
    expect(await unready("hd-1")).toMatchObject({
      directory: "the directory has not been read yet, or it is empty",
    });
    expect(await unready("public-proxy-1")).toEqual({
      endpoint: expect.stringMatching(/localhost:\d+.* does not answer/),
    });
    const others = [...PING_ROLES, ...PRIVATE].filter(
      (role) => !/^(hd-1|public-proxy-1)$/.test(role),
    );
    await Promise.all(others.map((role) => town.start(role)));
    expect(await unready("sd-1")).toEqual({});
    await town.setUp();
    await hd2Connected(town);
    await ready(...ROLES);
  });

  it("count what happens when one pings another", async () => {
    const roles = ["hd-1", "public-proxy-1", "sd-1", "hd-2"] as const;
    const look = async () =>
      new Map(await Promise.all(roles.map(async (role) => [role, await seen(role)] as const)));
    const before = await look();
    expect(await ping()).toHaveProperty("result");
    await eventually(NOTICE_MS, async () => {
      const after = await look();
      const more = (role: (typeof roles)[number], name: string): number =>
        (after.get(role)?.get(`eps_broker_${name}`) ?? 0) -
        (before.get(role)?.get(`eps_broker_${name}`) ?? 0);
      expect(more("hd-1", 'jsonrpc_requests_total{listener="gateway",status="2xx"}')).toBe(1);
      expect(more("public-proxy-1", 'circuits_open{door="token"}')).toBe(1);
      expect(more("public-proxy-1", 'hello_wait_seconds_count{door="token"}')).toBe(2);
      expect(more("public-proxy-1", 'rendezvous_wait_seconds_count{door="token"}')).toBe(1);
      for (const from of ["caller", "callee"]) {
        const bytes = `circuit_bytes_total{door="token",from="${from}"}`;
        expect(more("public-proxy-1", bytes)).toBeGreaterThan(1_000);
      }
      expect(more("hd-2", 'tls_handshake_duration_seconds_count{listener="grpc"}')).toBe(1);
    });
    const streams = "eps_broker_reverse_streams";
    expect((await seen("public-proxy-eps-1")).get(`${streams}_accepted`)).toBeGreaterThan(1);
    expect((await seen("hd-2")).get(`${streams}_kept`)).toBeGreaterThan(0);
    const [sd, hd1] = [await seen("sd-1"), await seen("hd-1")];
    expect(sd.get('eps_broker_sd_submitted_total{outcome="accepted"}')).toBe(1);
    expect(hd1.get("eps_broker_directory_records")).toBe(sd.get("eps_broker_sd_records"));
    expect(hd1.get("eps_broker_directory_age_seconds")).toBeLessThan(60);
    expect(sd.get("eps_broker_sd_waiting")).toBeGreaterThan(0);
  });

  it("have as many series, and as much log, whatever strangers say (T23)", async () => {
    const proxy = "public-proxy-1";
    const names = (from: number, to: number): string[] =>
      Array.from({ length: to - from }, (_, n) => `hostile-${from + n}.example`);
    const askFor = async (name: string): Promise<void> => {
      const socket = connectTls({ port: town.port(4433), host: "127.0.0.1", servername: name });
      await new Promise<void>((resolve) =>
        socket.on("error", () => {}).once("close", () => resolve()),
      );
    };
    const knock = async (name: string): Promise<void> => {
      const socket = connect(town.port(9999), "127.0.0.1");
      socket
        .on("error", () => {})
        .resume()
        .end(name.padEnd(32, "x"));
      await once(socket, "close");
    };
    const come = async (all: string[]): Promise<void> => {
      await Promise.all(all.flatMap((name) => [askFor(name), knock(name)]));
    };
    const turnedAway = (count: number): Promise<void> =>
      eventually(NOTICE_MS, async () => {
        const now = await seen(proxy);
        for (const door of ["sni", "token"]) {
          const name = `eps_broker_strangers_turned_away_total{door="${door}",why="unknown"}`;
          expect(now.get(name)).toBe(count);
          expect(now.get(`eps_broker_strangers{door="${door}"}`)).toBe(0);
        }
      });
    await come(names(0, 1));
    await turnedAway(1);
    // Which kinds of garbage collection there have been is for the program alone to say.
    const series = async (): Promise<string[]> =>
      [...(await seen(proxy)).keys()].filter((name) => !name.startsWith("nodejs_gc_"));
    const before = await series();
    const log = readFileSync(town.program(proxy).log_file).length;
    for (let from = 1; from < 101; from += 20) await come(names(from, from + 20));
    await turnedAway(101);
    expect(await series()).toEqual(before);
    expect(readFileSync(town.program(proxy).log_file).length).toBe(log);
  });

  it("name no operator, no domain, no address and no file in their metrics", async () => {
    for (const role of ROLES) {
      const text = await metrics(role);
      expect(text).toContain("eps_broker_");
      expect(text, role).not.toMatch(/hd-\d|proxy-\d|\.ga\b|hostile|localhost|127\.0|\.crt|BEGIN/);
    }
  });

  it("are not ready once their endpoint or their proxy is gone, and are when it is back", async () => {
    await Promise.all([town.stop("public-proxy-eps-1"), town.stop("private-proxy-eps-1")]);
    await eventually(NOTICE_MS, async () => {
      for (const role of ["public-proxy-1", "private-proxy-1"] as const) {
        const endpoint = expect.stringMatching(/does not answer/);
        expect(await unready(role)).toMatchObject({ endpoint });
      }
      for (const role of ["hd-1", "hd-2"] as const) {
        const reachable = expect.stringContaining("no reverse stream to it is open");
        expect(await unready(role)).toEqual({ reachable });
      }
    });
    await Promise.all([town.start("public-proxy-eps-1"), town.start("private-proxy-eps-1")]);
    await ready(...ROLES);
  });

  it("stay ready when the directory server goes away, since nobody waits for it", async () => {
    const failures = "eps_broker_directory_failures_total";
    const before = (await seen("hd-1")).get(failures) ?? 0;
    await town.stop("sd-1");
    await eventually(NOTICE_MS, async () => {
      expect((await seen("hd-1")).get(failures)).toBeGreaterThan(before);
    });
    expect(await unready("hd-1")).toEqual({});
    expect(await ping()).toHaveProperty("result");
  });

  it("are not ready any more while they bring what they do to an end", async () => {
    let asked = (): void => {};
    const begun = new Promise<void>((resolve) => {
      asked = resolve;
    });
    let answer = (): void => {};
    const backend = createServer((request, reply) => {
      request.resume();
      answer = () => reply.end('{"jsonrpc": "2.0", "id": "1", "result": {}}');
      asked();
    });
    backend.listen(town.port(5050), "127.0.0.1");
    await once(backend, "listening");
    try {
      const call = town.call({ role: "hd-1", port: GATEWAY["hd-1"] }, { method: "hd-1.think" });
      await begun;
      const stopped = town.stop("hd-1");
      await eventually(NOTICE_MS, async () => {
        expect(await unready("hd-1")).toMatchObject({ running: "the program is stopping" });
      });
      answer();
      expect(await call).toEqual({ result: {} });
      expect(await stopped).toBe(0);
    } finally {
      backend.closeAllConnections();
      backend.close();
    }
  });
});
