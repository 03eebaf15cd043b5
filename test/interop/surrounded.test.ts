import { execFile } from "node:child_process";
import { once } from "node:events";
import { readFile, writeFile } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Town } from "../../src/roles/dev/town.ts";
import { addRecords } from "../support/originals.ts";
import { freePort } from "../support/redis.ts";
import { eventually, foundTown, GATEWAY, settingsWithCertificates } from "../support/town.ts";
import { until } from "../support/until.ts";
import { type Entry, jsonDirectory, tlsOf } from "./original/certificates.ts";
import { OriginalEndpoint } from "./original/endpoint.ts";
import { OriginalError, OriginalJsonrpcServer, originalCall } from "./original/jsonrpc.ts";
import type { JsonObject } from "./original/messages.ts";
import { OriginalProxy } from "./original/proxy.ts";
import { nanoseconds, normalised, OriginalSd } from "./original/sd.ts";

const NAME = "public-proxy-1.ga";
const run = promisify(execFile);
/** Instead of 5 s, so that several circuits are cut in a short test. */
const CUT_MS = 1_500;

/** Our hd-1 and hd-2; the directory server, the proxy and the endpoint beside it are originals. */
let settings: Awaited<ReturnType<typeof settingsWithCertificates>>;
let town: Town;
let directory: Map<string, Entry>;
let sd: OriginalSd;
let beside: OriginalEndpoint;
let gateway: OriginalJsonrpcServer;
let proxy: OriginalProxy;

beforeAll(async () => {
  settings = await settingsWithCertificates();
  await addRecords(settings.folder, [
    {
      name: "hd-1",
      section: "preferences",
      data: [{ operator: "", service: "proxy", environment: "", settings: { mood: "fine" } }],
    },
    {
      name: "op-2",
      section: "channels",
      data: [{ type: "stdout", settings: {}, params: "what originals drop" }],
    },
  ]);
  town = await foundTown(settings.folder);
  const { certs } = town;
  directory = jsonDirectory(town.directory);
  const tls = tlsOf(certs, NAME);
  sd = new OriginalSd(certs);
  beside = new OriginalEndpoint(NAME, {
    certs,
    directory,
    backend: async ({ method, params, id }) => {
      const to = { port: town.port(6655), tls, server_name: NAME };
      const { result = null, error } = await originalCall(to, { method, params, id });
      if (error) throw new OriginalError(error.code, error.message, error.data);
      return result;
    },
  });
  gateway = new OriginalJsonrpcServer(async ({ method, params, id }) => {
    const operator = method.slice(0, method.lastIndexOf("."));
    const _client = { name: NAME, entry: directory.get(NAME) as unknown as JsonObject };
    const call = { method, id: `${method}(${id})`, params: { ...params, _client } };
    const { error, result = {} } = await beside.ask(operator, call);
    if (error) throw new OriginalError(error.code, error.message, error.data);
    return result;
  }, tls);
  const ports = { eps: town.port(5544), jsonrpc: town.port(6655), token: town.port(9999) };
  proxy = new OriginalProxy({ name: NAME, certs, ports, cut_ms: CUT_MS });
  await sd.listen(town.port(3322));
  await beside.listen(town.port(5556));
  await gateway.listen(ports.eps);
  await proxy.listen();
  await town.setUp();
  const file = join(town.settings("hd-1"), "001_default.yml");
  const before = await readFile(file, "utf8");
  await writeFile(file, before.replace("cache_entries_for: 5", "cache_entries_for: 1"));
  await Promise.all([town.start("hd-1"), town.start("hd-2")]);
  await until(
    () => beside.hasClient("hd-1") && beside.hasClient("hd-2"),
    "both of ours keep a reverse stream to the original",
  );
});
afterAll(async () => {
  for (const each of [proxy, gateway, beside, sd, town, settings])
    await each[Symbol.asyncDispose]();
});

const ping = (params: JsonObject = {}) =>
  town.call({ role: "hd-1", port: GATEWAY["hd-1"] }, { method: "hd-2._ping", params });

describe("our endpoints among originals", () => {
  it("reach each other through an original proxy, whatever preferences they have [addressing 2]", async () => {
    expect(await ping({ hello: "world" })).toMatchObject({
      result: {
        serverInfo: { name: "hd-2" },
        params: { hello: "world", _client: { name: "hd-1" } },
      },
    });
    expect(proxy.circuits).toBe(1);
    expect(proxy.cuts).toEqual([]);
  });

  it("use no circuit of an original twice, and outlive its cuts [p2p 5]", async () => {
    const before = proxy.circuits;
    await ping();
    await ping();
    expect(proxy.circuits).toBe(before + 2);
    const began = Date.now();
    await until(() => Date.now() - began > CUT_MS, "every circuit so far is cut");
    expect(await ping()).toHaveProperty("result");
  });

  it("ask for a token as originals do [p2p 3]", () => {
    const request = beside.requests.find(({ method }) => method.endsWith(".requestConnection"));
    expect(request).toMatchObject({ method: `${NAME}.requestConnection`, clientName: "hd-1" });
    expect(request?.id).toMatch(/^public-proxy-1\.ga\.requestConnection\([^)]+\)$/);
    expect(request?.params).toEqual({ to: "hd-2", channel: "grpc_server" });
  });

  it("say in one piece which token they come with, and nothing before it [p2p 1]", async () => {
    for (let n = 0; n < 10; n += 1) await ping({ n });
    expect(proxy.cuts.filter((cut) => cut !== "deadline")).toEqual([]);
  });

  it("dial, and say their token, before they answer that they are there [p2p 2]", async () => {
    const heard: Buffer[] = [];
    const door = createServer((socket) => void socket.on("data", (bytes) => heard.push(bytes)));
    door.listen(0, "127.0.0.1");
    await once(door, "listening");
    const { port } = door.address() as AddressInfo;
    const token = Buffer.alloc(32, "token");
    const invite = (endpoint: string, more: JsonObject = {}) =>
      beside.ask("hd-2", {
        method: "hd-2._connectionRequest",
        id: `hd-2._connectionRequest(${endpoint})`,
        params: {
          channel: "grpc_server",
          client: { name: "hd-1", entry: { name: "hd-1", channels: [] } },
          token: token.toString("base64"),
          endpoint,
          ...more,
        },
      });
    expect(await invite(`127.0.0.1:${port}`)).not.toHaveProperty("error");
    await until(() => heard.length > 0, "the token is there");
    expect(heard).toEqual([token]); // who dials is the server of TLS, and waits
    door.close();
    const nobody = await invite(`127.0.0.1:${await freePort()}`);
    expect(nobody).toMatchObject({ error: { code: -100 } });
    expect(await invite("127.0.0.1:1", { channel: "carrier pigeon" })).toMatchObject({
      error: { code: -100, message: expect.stringContaining("no channel accepted the request") },
    });
  });

  it("answer each other's calls all at once, each over a circuit of an original", async () => {
    const answers = await Promise.all(Array.from({ length: 10 }, (_, n) => ping({ n })));
    for (const [n, answer] of answers.entries()) {
      expect(answer).toMatchObject({ result: { params: { n } } });
    }
  });

  it("follow an original directory server, which answers at once and closes every connection [jsonrpc 2]", async () => {
    expect(sd.asked[0]).toMatchObject({ after: "" });
    expect(await ping()).toMatchObject({
      result: { params: { _client: { entry: { groups: ["health-departments"] } } } },
    });
  });
});

describe("our directory client", () => {
  it("submits to an original what that hashes, signs and stores just so [directory 2]", () => {
    expect(sd.records.length).toBeGreaterThan(20);
    for (const [index, { parent_hash, record, signature }] of sd.records.entries()) {
      expect(parent_hash).toBe(sd.records[index - 1]?.hash ?? "");
      expect(signature.c.startsWith("-----BEGIN CERTIFICATE-----\n")).toBe(true);
      expect(record.data).toEqual(record.data.map((each) => normalised(record.section, each)));
    }
    const channels = sd.records.find(
      ({ record }) => record.name === "op-2" && record.section === "channels",
    );
    expect(channels?.record.data).toEqual([{ type: "stdout", settings: {} }]);
  });

  it("gives every record a later time than the one before [directory 3]", () => {
    const times = sd.records.map(({ record }) => nanoseconds(record.created_at));
    for (const [index, time] of times.slice(1).entries()) {
      expect(time).toBeGreaterThan(times[index] ?? 0n);
    }
  });

  it("submits more behind the tip of an original, and others get to know it", async () => {
    const tip = sd.records.at(-1);
    const file = join(town.folder, "more.json");
    const created_at = "2026-01-01T00:00:00Z";
    const record = { name: "op-2", section: "groups", data: ["newcomers"], created_at };
    await writeFile(file, JSON.stringify({ records: [record] }));
    const env = { ...process.env, EPS_SETTINGS: town.settings("hd-1") };
    await run(process.execPath, ["dist/bin/eps.js", "sd", "submit-records", file], { env });
    expect(sd.records.at(-1)).toMatchObject({ parent_hash: tip?.hash, record: { name: "op-2" } });
    const lookUp = { method: "hd-1._directory", params: { operator: "op-2" } };
    await eventually(10_000, async () =>
      expect(await town.call({ role: "hd-1", port: GATEWAY["hd-1"] }, lookUp)).toMatchObject({
        result: { entries: [{ name: "op-2", groups: ["newcomers"] }] },
      }),
    );
  });
});
