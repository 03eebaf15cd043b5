import { readFile, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Town } from "../../src/roles/dev/town.ts";
import {
  foundTown,
  GATEWAY,
  PING_ROLES,
  settingsWithCertificates,
  startPing,
} from "../support/town.ts";
import { until } from "../support/until.ts";

/** Each is somewhere where something secret would be, and nowhere may one be found again. */
const CANARIES = {
  password: "canary-password-4711",
  query: "canary-query-4711",
  parameter: "canary-parameter-4711",
  key: "canary-key-of-a-parameter-4711",
  token: "canary-token-of-32-bytes-4711-xx",
};

let settings: Awaited<ReturnType<typeof settingsWithCertificates>>;
let town: Town;
let seen = "";

beforeAll(async () => {
  settings = await settingsWithCertificates();
  town = await foundTown(settings.folder);
  const file = join(town.settings("hd-2"), "001_default.yml");
  const before = await readFile(file, "utf8");
  const { password, query } = CANARIES;
  const after = before.replace(
    /http:\/\/localhost:(\d+)\/jsonrpc"/,
    `http://user:${password}@localhost:$1/jsonrpc?key=${query}"`,
  );
  expect(after).not.toBe(before);
  await writeFile(file, after);
  await startPing(town);
});
afterAll(async () => {
  await town[Symbol.asyncDispose]();
  await settings[Symbol.asyncDispose]();
});

async function metricsOf(port: number): Promise<string> {
  return await (await fetch(`http://127.0.0.1:${town.port(port)}/metrics`)).text();
}

describe("what is secret", () => {
  it("is in no log, no metric, no error and no argument of the real programs (T22)", async () => {
    const { parameter, key, token } = CANARIES;
    const params = { [key]: parameter };
    const hd2 = { role: "hd-2", port: GATEWAY["hd-2"] };
    const hd1 = { role: "hd-1", port: GATEWAY["hd-1"] };
    // A call that works (its answer tells the caller its own parameters), and ones that fail in all ways.
    expect(await town.call(hd1, { method: "hd-2._ping", params })).toHaveProperty("result");
    for (const [from, method] of [
      [hd2, "hd-2.add"],
      [hd1, "hd-2.add"],
      [hd1, "nobody.add"],
      [hd1, "no address"],
      [hd1, "hd-2._connectionRequest"],
    ] as const) {
      const answer = await town.call(from, { method, params });
      expect(answer).toHaveProperty("error");
      seen += JSON.stringify(answer);
    }
    const refused = await town.call({ ...hd1, as: "op-1" }, { method: "hd-2._ping", params });
    expect(refused).toMatchObject({ error: { message: expect.stringMatching(/allowed_clients/) } });
    seen += JSON.stringify(refused);
    const guesser = connect(town.port(9_999), "127.0.0.1");
    guesser.on("error", () => {}).resume();
    guesser.write(token);
    await until(() => guesser.closed, "the guesser is hung up on");

    for (const role of PING_ROLES) {
      const { pid, log_file } = town.program(role);
      seen += await readFile(log_file, "utf8");
      if (process.platform === "linux") seen += await readFile(`/proc/${pid}/cmdline`, "utf8");
    }
    seen += await metricsOf(2112);
    seen += await metricsOf(2113);
    expect(seen).toContain("circuit open");
    expect(seen).toContain("process_cpu_seconds_total");
    for (const canary of Object.values(CANARIES)) {
      expect(seen).not.toContain(canary);
      expect(seen).not.toContain(Buffer.from(canary).toString("base64"));
      expect(seen).not.toContain(Buffer.from(canary).toString("hex"));
    }
    // Tokens of 32 bytes in base64, and keys.
    expect(seen).not.toMatch(/[A-Za-z0-9+/]{43}=|PRIVATE KEY|"token":/);
  });
});
