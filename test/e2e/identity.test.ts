import { readFile, writeFile } from "node:fs/promises";
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

/** Starts a role again with other settings, does something, and puts all back as it was. */
async function withSettings(
  role: string,
  change: (text: string) => string,
  work: () => Promise<void>,
): Promise<void> {
  const file = join(town.settings(role), "001_default.yml");
  const before = await readFile(file, "utf8");
  const changed = change(before);
  expect(changed, "the change must change something").not.toBe(before);
  await town.stop(role);
  await writeFile(file, changed);
  try {
    await town.start(role);
    await work();
  } finally {
    await town.stop(role);
    await writeFile(file, before);
    await town.start(role);
  }
}

/** Shows another operator's or another certificate to peers, and the right one to the directory. */
const showing = (certificate: string) => (text: string) =>
  text.replace(/grpc_client[\s\S]*?(?=\n {2}- |\n\S|$)/, (channel) =>
    channel.replaceAll(/hd-1\.(crt|key)/g, `${certificate}.$1`),
  );
const pingFrom = (role: keyof typeof GATEWAY, whom: string) =>
  town.call({ role, port: GATEWAY[role] }, { method: `${whom}._ping` });

describe("an endpoint", () => {
  it("is refused with a certificate of its own name that the directory does not pin [grpc 3]", async () => {
    await withSettings("hd-1", showing("hd-1-alt"), async () => {
      expect(await pingFrom("hd-1", "hd-2")).toMatchObject({
        error: { code: 500, message: expect.stringContaining("no matching client") },
      });
    });
  });

  it("is refused with the certificate of another operator", async () => {
    await withSettings("hd-1", showing("op-1"), async () => {
      expect(await pingFrom("hd-1", "hd-2")).toMatchObject({
        error: { code: 500, message: expect.stringContaining("no matching client") },
      });
    });
  });

  it("refuses a callee whose certificate the directory does not pin [grpc 3]", async () => {
    const alt = (text: string): string =>
      text.replace(/grpc_server[\s\S]*?(?=\n {2}- |\n\S|$)/, (channel) =>
        channel.replaceAll(/hd-2\.(crt|key)/g, "hd-2-alt.$1"),
      );
    await withSettings("hd-2", alt, async () => {
      await town.said("public-proxy-eps-1", "connected with hd-2 again", () => true);
      const deadline = Date.now() + 10_000;
      for (;;) {
        const answer = await pingFrom("hd-1", "hd-2");
        const message = "error" in answer ? answer.error.message : "";
        if (message.includes("pins no certificate")) break;
        expect(message, "a callee with the wrong certificate must never answer").not.toBe("");
        expect(Date.now(), message).toBeLessThan(deadline);
      }
    });
  });

  it("refuses a JSON-RPC caller without a certificate of ours", async () => {
    const { request } = await import("node:https");
    const ca = await readFile(join(town.folder, "settings/certs/root.crt"));
    const refused = await new Promise<Error>((resolve, reject) => {
      const port = town.port(GATEWAY["hd-1"]);
      request({ host: "127.0.0.1", port, servername: "hd-1", ca, path: "/jsonrpc", method: "POST" })
        .on("response", ({ statusCode }) => reject(new Error(`answered ${statusCode}`)))
        .on("error", resolve)
        .end("{}");
    });
    expect(refused.message).toMatch(/certificate required|ECONNRESET|socket hang up/);
  });
});

describe("a service directory", () => {
  it("says which rule a refused record breaks, and stays as it was", async () => {
    const entries = async (): Promise<string> => {
      const answer = await town.call(
        { role: "sd-1", port: 3322, as: "hd-1" },
        { method: "getRecords" },
      );
      return JSON.stringify(answer);
    };
    const before = await entries();
    const [last] = JSON.parse(before).result.slice(-1);
    const mallory = { ...last.record, name: "mallory" };
    const forged = { ...last, record: mallory, parent_hash: last.hash, hash: "f".repeat(64) };
    const stale = { ...forged, parent_hash: "0".repeat(64) };
    for (const [record, reason] of [
      [forged, /hash/],
      [stale, /follows 000/],
    ] as const) {
      const answer = await town.call(
        { role: "sd-1", port: 3322, as: "hd-1" },
        { method: "submitRecords", params: { records: [record] } },
      );
      expect(answer).toMatchObject({ error: { message: expect.stringMatching(reason) } });
    }
    expect(await entries()).toBe(before);
  });
});
