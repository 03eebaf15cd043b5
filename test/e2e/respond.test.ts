import { once } from "node:events";
import { readFile, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import { join } from "node:path";
import { json } from "node:stream/consumers";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Town } from "../../src/roles/dev/town.ts";
import type { Answer } from "../../src/wire/answer.ts";
import {
  foundTown,
  GATEWAY,
  hd2Connected,
  PING_ROLES,
  settingsWithCertificates,
  startPing,
} from "../support/town.ts";
import { until } from "../support/until.ts";

type Gateway = { role: string; port: number };
type Asked = { id: string; method: string; params: Record<string, unknown> };

let settings: Awaited<ReturnType<typeof settingsWithCertificates>>;
let town: Town;
let service: Server;
/** What hd-2's service was asked; it acknowledges everything and answers nothing. */
const asked: Asked[] = [];

/** Both endpoints give a call three seconds, unless its service acknowledges it. */
async function hurry(folder: string, role: string): Promise<void> {
  const file = join(folder, "roles", role, "001_default.yml");
  await writeFile(file, `${await readFile(file, "utf8")}\ncall_timeout: 3\n`);
}

/** Health departments and the proxy may call `look` at hd-2. */
async function permitLook(folder: string): Promise<void> {
  const file = join(folder, "directory", "001_base.json");
  const { records } = JSON.parse(await readFile(file, "utf8"));
  const services = records.find(
    (each: { name: string; section: string }) =>
      each.name === "hd-2" && each.section === "services",
  );
  services.data.push({
    name: "archive",
    permissions: ["health-departments", "proxy-providers"].map((group) => ({
      group,
      rights: ["call"],
    })),
    methods: [{ name: "look" }],
  });
  await writeFile(file, JSON.stringify({ records }));
}

beforeAll(async () => {
  settings = await settingsWithCertificates();
  await Promise.all([
    hurry(settings.folder, "hd-1"),
    hurry(settings.folder, "hd-2"),
    permitLook(settings.folder),
  ]);
  town = await foundTown(settings.folder);
  service = createServer(async (request, reply) => {
    asked.push((await json(request)) as Asked);
    reply.writeHead(202).end();
  });
  service.listen(town.port(5051), "127.0.0.1");
  await once(service, "listening");
  await startPing(town);
});
afterAll(async () => {
  service.closeAllConnections();
  service.close();
  await town[Symbol.asyncDispose]();
  await settings[Symbol.asyncDispose]();
});

const look = (id: string, gateway: Gateway = HD1): Promise<Answer> =>
  town.call(gateway, { method: "hd-2.look", params: { for: id }, id });
const HD1: Gateway = { role: "hd-1", port: GATEWAY["hd-1"] };
const HD2: Gateway = { role: "hd-2", port: GATEWAY["hd-2"] };
const PROXY: Gateway = { role: "public-proxy-1.ga", port: 5544 };

/** The call as hd-2's service has seen it. */
async function arrived(what: string): Promise<Asked> {
  const found = (): Asked | undefined => asked.find(({ params }) => params["for"] === what);
  await until(() => found() !== undefined, `the service is asked for ${what}`);
  return found() as Asked;
}
const respond = (id: string, params: object, by = HD2): Promise<Answer> =>
  town.call(by, { method: "respond", id, params: { ...params } });

describe("a service that acknowledges calls and answers them later", () => {
  it("is heard by its caller, long after a call would have timed out", async () => {
    const waiting = look("slow");
    const { id, method, params } = await arrived("slow");
    expect({ method, from: params["_client"] }).toMatchObject({
      method: "look",
      from: { name: "hd-1" },
    });
    expect(id).toMatch(/^hd-2\.look\(slow~[\w-]{10}\)$/);
    await town.said("hd-1", "asking again", ({ msg, request }) => {
      return msg === "call unanswered, asking what became of it" && id.includes(String(request));
    });
    expect(await respond(id, { result: { found: 3 } })).toEqual({ result: "ok" });
    expect(await waiting).toEqual({ result: { found: 3 } });
  });

  it("may answer with an error, which arrives as it is", async () => {
    const waiting = look("wrong");
    const { id } = await arrived("wrong");
    await respond(id, { error: { code: -7, message: "no such shelf", data: { shelf: 1 } } });
    expect(await waiting).toMatchObject({ error: { code: -7, message: "no such shelf" } });
  });

  it("answers once", async () => {
    const waiting = look("once");
    const { id } = await arrived("once");
    await respond(id, { result: 1 });
    expect(await respond(id, { result: 2 })).toMatchObject({
      error: { code: 1, message: expect.stringContaining("was answered already") },
    });
    expect(await waiting).toEqual({ result: 1 });
  });

  it("answers calls that were made to it, and nobody else does", async () => {
    const waiting = look("mine");
    const { id } = await arrived("mine");
    for (const other of [HD1, PROXY]) {
      expect(await respond(id, { result: "forged" }, other)).toMatchObject({
        error: { data: { fault: "not_found" } },
      });
    }
    // Nor can another operator pick up what was promised to hd-1.
    expect(await town.call(PROXY, { method: "hd-2._pickUp", params: { id } })).toMatchObject({
      error: { message: expect.stringContaining("no answer was promised") },
    });
    await respond(id, { result: "true" });
    expect(await waiting).toEqual({ result: "true" });
  });

  it("is told what is wrong with its answer", async () => {
    for (const params of [{}, { result: 1, error: { code: 1, message: "both" } }, { answer: 1 }]) {
      expect(await respond("hd-2.look(x)", params)).toMatchObject({
        error: { code: 1, message: expect.stringContaining("respond takes the id of the call") },
      });
    }
    expect(await respond("hd-2.look(nobody)", { result: 1 })).toMatchObject({
      error: { code: 1, message: expect.stringContaining("nobody waits for an answer") },
    });
  });

  it("answers over a reverse stream as well", async () => {
    const waiting = look("reverse", PROXY);
    const { id } = await arrived("reverse");
    await respond(id, { result: "by stream" });
    expect(await waiting).toEqual({ result: "by stream" });
  });

  it("is heard although the connection broke in between", { timeout: 60_000 }, async () => {
    const waiting = look("broken");
    const { id } = await arrived("broken");
    await town.stop("public-proxy-1", "SIGKILL");
    await town.start("public-proxy-1");
    await town.said("hd-1", "asking again", ({ msg, request }) => {
      return msg === "call unanswered, asking what became of it" && id.includes(String(request));
    });
    expect(await respond(id, { result: "all the same" })).toEqual({ result: "ok" });
    expect(await waiting).toEqual({ result: "all the same" });
  });

  it("is heard although it answered while there was no connection", {
    timeout: 60_000,
  }, async () => {
    const waiting = look("meanwhile");
    const { id } = await arrived("meanwhile");
    await town.stop("public-proxy-1", "SIGKILL");
    expect(await respond(id, { result: "kept" })).toEqual({ result: "ok" });
    await town.start("public-proxy-1");
    expect(await waiting).toEqual({ result: "kept" });
  });

  it("leaves its caller with an error when its endpoint is gone", { timeout: 60_000 }, async () => {
    const waiting = look("lost");
    const { id } = await arrived("lost");
    await town.stop("hd-2", "SIGKILL");
    await town.start("hd-2");
    await hd2Connected(town);
    expect(await waiting).toMatchObject({ error: { code: 500 } });
    const log = await readFile(join(town.folder, "logs", "hd-2.log"), "utf8");
    const asksAgain = (line: string): boolean =>
      line.includes("hd-2._pickUp") && id.includes(`~${JSON.parse(line).request}`);
    expect(log.split("\n").filter(asksAgain), "no is no").toHaveLength(1);
    expect(await respond(id, { result: "too late" })).toMatchObject({
      error: { message: expect.stringContaining("nobody waits") },
    });
  });

  it("keeps no program from stopping", async () => {
    const waiting = look("stopping");
    await arrived("stopping");
    for (const role of ["hd-2", "hd-1"]) expect(await town.stop(role), role).toBe(0);
    expect(await waiting).toHaveProperty("error");
    for (const role of PING_ROLES) expect(await town.stop(role), role).toBe(0);
  });
});
