import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { copyFile, readFile, rename, rm, writeFile } from "node:fs/promises";
import { connect as connectTcp, type Socket } from "node:net";
import { join } from "node:path";
import { connect as connectTls } from "node:tls";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Town } from "../../src/roles/dev/town.ts";
import {
  eventually,
  foundTown,
  GATEWAY,
  settingsWithCertificates,
  startPing,
  submit,
} from "../support/town.ts";

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

const certificate = (file: string): string => join(town.certs, file);
const ping = async (): Promise<void> => {
  const answer = await town.call({ role: "hd-1", port: GATEWAY["hd-1"] }, { method: "hd-2._ping" });
  expect(answer).toHaveProperty("result");
};
const told = (role: string, msg: string): number =>
  town
    .program(role)
    .lines()
    .filter((line) => line.msg === msg).length;
const circuits = (msg: string): number =>
  town
    .program("public-proxy-1")
    .lines()
    .filter((line) => line.msg === msg && line["caller"] === "hd-1").length;

async function fingerprintOf(file: string): Promise<string> {
  const { fingerprint256 } = new X509Certificate(await readFile(certificate(file)));
  return fingerprint256.replaceAll(":", "").toLowerCase();
}

/** Pins certificates for hd-2, as an administrator does, beside the one it signs with. */
async function pin(...encryption: string[]): Promise<void> {
  const signing = await fingerprintOf("hd-2-sign.crt");
  const data = [
    { fingerprint: signing, key_usage: "signing" },
    ...encryption.map((fingerprint) => ({ fingerprint, key_usage: "encryption" })),
  ];
  const created_at = new Date().toISOString();
  await submit(town, { section: "certificates", name: "hd-2", created_at, data });
}

/** Puts other files in the place of hd-2's, each at once, as a renewing program does. */
async function install(crt: string, key: string): Promise<void> {
  for (const [from, to] of [
    [crt, "hd-2.crt"],
    [key, "hd-2.key"],
  ] as const) {
    await copyFile(certificate(from), certificate(`${to}.new`));
    await rename(certificate(`${to}.new`), certificate(to));
  }
}

/** The certificate that hd-2 shows to a new connection. */
async function shownByHd2(): Promise<string> {
  const socket = connectTls({
    port: town.port(GATEWAY["hd-2"]),
    host: "127.0.0.1",
    rejectUnauthorized: false,
  });
  try {
    await once(socket, "secureConnect");
    return socket.getPeerCertificate().fingerprint256.replaceAll(":", "").toLowerCase();
  } finally {
    socket.destroy();
  }
}

describe("a certificate that is renewed while a circuit is open", () => {
  it("is used from then on, and nothing is cut until the old one is no longer pinned", {
    timeout: 90_000,
  }, async () => {
    const [old, renewed] = [await fingerprintOf("hd-2.crt"), await fingerprintOf("hd-2-alt.crt")];
    await ping();
    expect(circuits("circuit open")).toBe(1);
    let going = true;
    let pings = 0;
    const traffic = (async () => {
      for (; going; pings += 1) await ping();
    })();

    await pin(old, renewed);
    await install("hd-2-alt.crt", "hd-2-alt.key");
    await eventually(20_000, async () => expect(await shownByHd2()).toBe(renewed));
    // Its servers, its clients and its directory client each notice by themselves.
    await eventually(20_000, async () => {
      expect(told("hd-2", "new TLS files in use")).toBe(4);
    });
    const before = pings;
    await eventually(20_000, async () => expect(pings).toBeGreaterThan(before));
    going = false;
    await traffic;
    expect(circuits("circuit open")).toBe(1);
    expect(circuits("circuit ended")).toBe(0);
    expect(told("public-proxy-eps-1", "reverse stream gone")).toBe(0);

    await pin(renewed);
    await eventually(20_000, ping);
    await eventually(20_000, async () => expect(circuits("circuit ended")).toBe(1));
    expect(circuits("circuit open")).toBe(2);
  });

  it("stays the old one while the new one cannot be used", async () => {
    const now = await shownByHd2();
    await copyFile(certificate("hd-2.key"), certificate("hd-2.key.kept"));
    await writeFile(certificate("hd-2.key"), "-----BEGIN PRIVATE KEY-----\nMIGHAg");
    const warning = await town.said("hd-2", "wary of its key", ({ msg }) => {
      return msg.startsWith("changed TLS files cannot be used");
    });
    expect(warning["reason"]).toMatch(/hd-2\.key is cut off/);
    expect(await shownByHd2()).toBe(now);
    await ping();
    await rename(certificate("hd-2.key.kept"), certificate("hd-2.key"));
  });
});

describe("settings that are read again", () => {
  const file = (): string => join(town.settings("public-proxy-1"), "002_more.yml");
  const hangUp = (): void => void process.kill(town.program("public-proxy-1").pid, "SIGHUP");
  const said = (what: string, msg: string | RegExp) =>
    town.said("public-proxy-1", what, (line) => new RegExp(msg).test(line.msg));

  /** A connection that says nothing, as the token door would wait for it. */
  async function stranger() {
    const socket = connectTcp(town.port(9999), "127.0.0.1");
    await once(socket, "connect");
    return socket.on("error", () => {}).resume();
  }

  it("change limits at once, name what has to wait, and change nothing if they are wrong", async () => {
    const strangers = [await stranger(), await stranger()];
    await writeFile(
      file(),
      'public: { internal_endpoint: "localhost:1", limits: { strangers_max: 3, hello_timeout: 60 } }',
    );
    hangUp();
    expect((await said("reading again", "settings read again"))["changed"]).toEqual([
      "public: limits",
    ]);
    const waiting = await said("naming what waits", "these settings take effect at the next start");
    expect(waiting["keys"]).toEqual(["public: internal_endpoint"]);

    await writeFile(file(), "public: { limits: { strangers_max: 0 } }");
    hangUp();
    const refused = await said("refusing", "the settings stay as they are");
    expect(refused).toMatchObject({ level: "error" });
    expect(refused.msg).toMatch(/002_more\.yml:1:\d+.*strangers_max/s);

    // Strangers of before may have been sent away by now, so count from those that come after.
    for (const each of strangers.splice(0)) each.destroy();
    await eventually(20_000, async () => {
      const four = [await stranger(), await stranger(), await stranger(), await stranger()];
      const turnedAway = once(four[3] as Socket, "close", { signal: AbortSignal.timeout(2_000) });
      await turnedAway.finally(() => {
        expect(four.slice(0, 3).map(({ closed }) => closed)).toEqual([false, false, false]);
        for (const each of four) each.destroy();
      });
    });
    await rm(file());
  });
});
