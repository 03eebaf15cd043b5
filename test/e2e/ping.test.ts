import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Town } from "../../src/roles/dev/town.ts";
import type { Answer } from "../../src/wire/answer.ts";
import { type Reply, send } from "../support/http.ts";
import {
  foundTown,
  GATEWAY,
  PING_ROLES,
  pingHd2,
  settingsWithCertificates,
  startPing,
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

const gateway = { role: "hd-1", port: GATEWAY["hd-1"] };
const call = (method: string, params = {}): Promise<Answer> =>
  town.call(gateway, { method, params });
const ping = (): Promise<void> => pingHd2(town);
/** By Node's own client, which shows the header. */
const pingByHttp = async (id: string): Promise<Reply> => {
  const file = (name: string): string => readFileSync(join(town.certs, name), "utf8");
  const tls = { ca: file("root.crt"), cert: file("hd-1.crt"), key: file("hd-1.key") };
  const body = JSON.stringify({ jsonrpc: "2.0", method: "hd-2._ping", params: {}, id });
  return await send(town.port(GATEWAY["hd-1"]), body, { ...tls, servername: "hd-1" });
};
const circuitsOpened = (): unknown[] =>
  town
    .program("public-proxy-1")
    .lines()
    .filter(({ msg }) => msg === "circuit open");

describe("a ping from hd-1 to hd-2, whom only the proxy can see", () => {
  it("arrives, and tells who asked", async () => {
    expect(await call("hd-2._ping", { hello: "world" })).toMatchObject({
      result: {
        serverInfo: { name: "hd-2" },
        params: { hello: "world", _client: { name: "hd-1", entry: { name: "hd-1" } } },
      },
    });
  });

  it("uses the same circuit after ten idle seconds [p2p 5]", { timeout: 30_000 }, async () => {
    await ping();
    const opened = circuitsOpened().length;
    await new Promise((resolve) => setTimeout(resolve, 10_000));
    await ping();
    expect(circuitsOpened()).toHaveLength(opened);
  });

  it("is answered 200 times at once, each with its own answer", async () => {
    await using client = await town.client({ ...gateway, as: "hd-1" });
    const answers = await Promise.all(
      Array.from({ length: 200 }, (_, n) =>
        client.call({ method: "hd-2._ping", params: { n }, id: "the same id for all" }),
      ),
    );
    for (const [n, answer] of answers.entries()) {
      expect(answer).toMatchObject({ result: { params: { n }, serverInfo: { name: "hd-2" } } });
    }
  });

  it("has one request id in the log of every program on its way", async () => {
    await town.stop("hd-1");
    await town.start("hd-1"); // so that a new circuit is needed
    const { headers } = await pingByHttp("trace me");
    const request = `${headers["x-request-id"]}`;
    expect(request).toMatch(/^[\w-]{10}$/);
    expect(headers["server-timing"]).toMatch(
      /^directory;dur=[\d.]+, rendezvous;dur=[\d.]+, connect;dur=[\d.]+, call;dur=[\d.]+$/,
    );
    const told = (role: string): unknown[] =>
      town
        .program(role)
        .lines()
        .filter((line) => line["request"] === request)
        .map(({ msg, call }) => call ?? msg);
    expect(told("hd-1")).toEqual(["hd-2._ping"]);
    expect(told("public-proxy-eps-1")).toEqual([
      "hd-2._connectionRequest",
      "public-proxy-1.ga.requestConnection",
    ]);
    expect(told("public-proxy-1")).toEqual(["circuit open"]);
    expect(told("hd-2")).toEqual(["hd-2._connectionRequest", "hd-2._ping"]);

    const again = await pingByHttp("trace me");
    expect(again.headers["x-request-id"]).not.toBe(request);
    expect(again.headers["server-timing"]).toMatch(/^directory;dur=[\d.]+, call;dur=[\d.]+$/);
  });

  it("is refused where the directory gives no permission", async () => {
    expect(await call("hd-2._directory")).toMatchObject({
      error: { code: 403, message: expect.stringContaining("Permission denied") },
    });
  });

  it("is refused for an operator that nobody knows", async () => {
    expect(await call("nobody._ping")).toMatchObject({
      error: { code: 1, message: expect.stringContaining("no directory entry found") },
    });
  });

  it("is refused with the limit when it is 100 MiB large, and the endpoint lives on", async () => {
    const answer = await call("hd-2._ping", { blob: "x".repeat(100 * 1024 * 1024) });
    expect(answer).toMatchObject({ error: { message: expect.stringContaining("4194304 bytes") } });
    await ping();
  });

  it("leaves no secret in any log", async () => {
    const logs = PING_ROLES.map((role) => readFileSync(town.program(role).log_file, "utf8")).join();
    expect(logs).toContain("circuit open");
    expect(logs).not.toMatch(/"token":|PRIVATE KEY/);
    expect(logs).not.toMatch(/[A-Za-z0-9+/]{43}=/); // what a token looks like in JSON
  });

  it("ends with records that say who, how and how much", async () => {
    await town.stop("hd-1");
    const record = await town.said("public-proxy-1", "done", ({ msg }) => msg === "circuit ended");
    expect(record).toMatchObject({
      door: "token",
      caller: "hd-1",
      callee: "hd-2",
      ending: expect.stringMatching(/done|broken/),
    });
    expect(record["bytes_from_caller"]).toBeGreaterThan(1_000);
    expect(record["bytes_from_callee"]).toBeGreaterThan(1_000);
  });

  it("stops every role with exit code 0", async () => {
    for (const role of PING_ROLES) expect(await town.stop(role), role).toBe(0);
  });
});
