import { execFile } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { readFile, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { promisify } from "node:util";
import { nanoid } from "nanoid";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Town } from "../../src/roles/dev/town.ts";
import { addRecords, connected } from "../support/originals.ts";
import { freePort } from "../support/redis.ts";
import { eventually, foundTown, GATEWAY, settingsWithCertificates } from "../support/town.ts";
import { until } from "../support/until.ts";
import { type Entry, jsonDirectory, tlsOf } from "./original/certificates.ts";
import { OriginalEndpoint } from "./original/endpoint.ts";
import { originalCall } from "./original/jsonrpc.ts";
import type { JsonObject } from "./original/messages.ts";

const ROLES = ["sd-1", "public-proxy-1", "public-proxy-eps-1", "hd-1"];
const PROXY = "public-proxy-1.ga";
const METHODS = ["_ping", "_connectionRequest", "add", "text", "fails", "hangs"];
const services = [
  {
    name: "everything",
    permissions: [{ group: "*", rights: ["call"] }],
    methods: METHODS.map((name) => ({ name })),
  },
];

/** Our directory server, proxy and hd-1; hd-2 and op-1 are originals, of which op-1 can be dialled. */
let settings: Awaited<ReturnType<typeof settingsWithCertificates>>;
let town: Town;
let directory: Map<string, Entry>;
let op1: OriginalEndpoint;
let hd2: OriginalEndpoint;
/** The service behind our hd-1, and what it was asked. */
let service: Server;
const asked: JsonObject[] = [];

const backend = ({ method, params, id }: { method: string; params: JsonObject; id: string }) => {
  if (method === "text") return "ok";
  if (method === "hangs") return new Promise<never>(() => {});
  return { method, params, id };
};

beforeAll(async () => {
  service = createServer(async (request, reply) => {
    const call = JSON.parse(await text(request)) as JsonObject;
    asked.push({ ...call, headers: request.headers as JsonObject });
    const answer =
      call["method"] === "fails"
        ? { error: { code: -32601, message: "no such method", data: "why" } }
        : { result: call["method"] === "text" ? "ok" : { sum: 3 } };
    reply.end(JSON.stringify({ jsonrpc: "2.0,", ...answer, id: call["id"] }));
  });
  service.listen(0, "127.0.0.1");
  await once(service, "listening");
  settings = await settingsWithCertificates();
  const at = (address: string) => [
    { type: "grpc_client" },
    { type: "grpc_server", settings: address === "" ? {} : { address } },
  ];
  const impostor = await readFile(join(settings.folder, "certs/op-2-alt.crt"));
  const fingerprint = new X509Certificate(impostor).fingerprint256
    .replaceAll(":", "")
    .toLowerCase();
  await addRecords(settings.folder, [
    { name: "hd-1", section: "services", data: services },
    { name: "hd-2", section: "services", data: services },
    { name: "op-1", section: "services", data: services },
    { name: "op-1", section: "groups", data: ["health-departments"] },
    { name: "op-1", section: "channels", data: at("localhost:4444") },
    { name: "op-2", section: "groups", data: ["health-departments"] },
    { name: "op-2", section: "channels", data: at("localhost:4445") },
    // Another name that stands on op-2's certificates, and pins one that op-2 does not.
    {
      name: "*.op-2.local",
      section: "certificates",
      data: [{ fingerprint, key_usage: "encryption" }],
    },
    // Somebody whom nobody can dial, and who is no reason not to dial others.
    { name: "demo-app", section: "groups", data: ["health-departments"] },
    { name: "demo-app", section: "channels", data: at("") },
  ]);
  town = await foundTown(settings.folder);
  const file = join(town.settings("hd-1"), "001_default.yml");
  const { port } = service.address() as AddressInfo;
  const before = await readFile(file, "utf8");
  const served = before.replace(/http:\/\/localhost:\d+\//, `http://localhost:${port}/`);
  await writeFile(file, `call_timeout: 5\n${served}`);
  directory = jsonDirectory(town.directory);
  const known = { certs: town.certs, directory, backend };
  op1 = new OriginalEndpoint("op-1", known);
  hd2 = new OriginalEndpoint("hd-2", known);
  await op1.listen(town.port(4444));
  await Promise.all(ROLES.map((role) => town.start(role)));
  await town.setUp();
  void hd2.serveBy(proxy());
  await connected(town, "hd-2");
});
afterAll(async () => {
  await op1[Symbol.asyncDispose]();
  await hd2[Symbol.asyncDispose]();
  await town[Symbol.asyncDispose]();
  await settings[Symbol.asyncDispose]();
  service.close();
});

const fromHd1 = (method: string, params: JsonObject = {}) =>
  town.call({ role: "hd-1", port: GATEWAY["hd-1"] }, { method, params });
const proxy = () => ({ port: town.port(5556), name: PROXY });
const throughProxy = (from: OriginalEndpoint, operator: string, method: string, id = nanoid()) =>
  from.callThrough(proxy(), {
    operator,
    method: `${operator}.${method}`,
    id: `${operator}.${method}(${id})`,
    params: { a: 1 },
  });

describe("our endpoint", () => {
  it("calls an original that can be dialled, by its name and with our own [grpc 4]", async () => {
    const { result } = (await fromHd1("op-1.add", { a: [1, null, "x"] })) as { result: JsonObject };
    expect(result).toMatchObject({
      method: "add",
      id: expect.stringMatching(/^op-1\.add\([^)]+\)$/),
      params: { a: [1, null, "x"], _client: { name: "hd-1" } },
    });
    const request = op1.requests.find(({ method }) => method === "op-1.add");
    expect(request?.id).toBe(result["id"]);
    expect(request?.clientName).toBe("hd-1");
  });

  it("asks originals for the certificate of their operator, wherever they are [grpc 3]", async () => {
    await fromHd1("op-1.text");
    await fromHd1("hd-2.text");
    expect([...op1.serverNames]).toEqual(["op-1"]);
    expect([...hd2.serverNames]).toEqual(["hd-2"]);
  });

  it("calls an original behind our proxy, which plays the TLS server on a socket it dialled [p2p 2]", async () => {
    expect(await fromHd1("hd-2.add", { a: 1 })).toMatchObject({
      result: { method: "add", params: { a: 1, _client: { name: "hd-1" } } },
    });
    expect(await fromHd1("hd-2.text")).toEqual({ result: "ok" });
  });

  it("keeps the words of an original that refuses [grpc 7]", async () => {
    expect(await fromHd1("op-1.unknown")).toMatchObject({
      error: { code: 403, message: "Permission denied for method 'unknown' and client 'hd-1'" },
    });
  });

  it("gives calls with the same id at the same time others on their way to an original [addressing 1]", async () => {
    const answers = await Promise.all(Array.from({ length: 20 }, () => fromHd1("op-1.add")));
    for (const answer of answers) expect(answer).toHaveProperty("result");
  });

  it("answers the pings of an original, on every connection it keeps to one [grpc 6]", async () => {
    await until(() => op1.hasClient("hd-1"), "hd-1 keeps a reverse stream to op-1");
    for (const session of op1.sessions) {
      const answered = new Promise<void>((resolve, reject) => {
        session.ping((error) => (error ? reject(error) : resolve()));
      });
      await answered;
    }
  });

  it("calls on after an original has hung up by GOAWAY, as it does when idle [grpc 6]", async () => {
    await fromHd1("op-1.text");
    expect(op1.sessions.size).toBeGreaterThan(0);
    for (const session of op1.sessions) session.goaway(0);
    expect(await fromHd1("op-1.text")).toEqual({ result: "ok" });
  });

  it("answers an original down the stream it keeps there, once for each request and in order [grpc 5]", async () => {
    await until(() => op1.hasClient("hd-1"), "hd-1 keeps a reverse stream to op-1");
    const requests = Array.from({ length: 10 }, (_, n) => {
      const method =
        ["hd-1.add", "hd-1.text", "hd-1.fails", "hd-1.unknown", "hd-1._ping"][n % 5] ?? "";
      return { method, id: `${method}(${n})`, params: { n } };
    });
    const answers = await Promise.all(requests.map((request) => op1.ask("hd-1", request)));
    expect(answers.map(({ id }) => id)).toEqual(requests.map(({ id }) => id));
    expect(answers.slice(0, 5)).toMatchObject([
      { result: { sum: 3 } },
      { result: { _: "ok" } },
      { error: { code: -32601, message: "no such method", data: { _: "why" } } },
      { error: { code: 403, message: "Permission denied for method 'unknown' and client 'op-1'" } },
      { result: { serverInfo: { name: "hd-1" } } },
    ]);
  });

  it("opens its stream again after an original has ended it with OK", async () => {
    await until(() => op1.hasClient("hd-1"), "hd-1 keeps a reverse stream to op-1");
    op1.hangUpOn("hd-1");
    await until(() => !op1.hasClient("hd-1"), "the stream is over");
    await until(() => op1.hasClient("hd-1"), "there is another");
    const request = { method: "hd-1.text", id: "hd-1.text(again)", params: {} };
    expect(await op1.ask("hd-1", request)).toMatchObject({ result: { _: "ok" } });
  });

  it("gives up a call that an original does not answer, and others have theirs meanwhile", async () => {
    const hanging = fromHd1("op-1.hangs");
    expect(await fromHd1("op-1.text")).toEqual({ result: "ok" });
    expect(await hanging).toMatchObject({ error: { code: 500, data: { fault: "timeout" } } });
    expect(await fromHd1("op-1.text")).toEqual({ result: "ok" });
  });

  it("refuses a server whose certificate is pinned, but for another name on it [grpc 3]", async () => {
    const [cert, key] = await Promise.all(
      ["crt", "key"].map((end) => readFile(join(town.certs, `op-2-alt.${end}`))),
    );
    const impostor = new OriginalEndpoint("op-2", {
      certs: town.certs,
      directory,
      tls: { cert, key } as { cert: Buffer; key: Buffer },
    });
    await impostor.listen(town.port(4445));
    expect(await fromHd1("op-2.text")).toMatchObject({
      error: { code: 500, message: expect.stringContaining("pins no certificate") },
    });
    expect(impostor.requests).toEqual([]);
    await impostor[Symbol.asyncDispose]();
  });

  it("refuses an original whose id permits one method and whose method is another", async () => {
    const id = "hd-1.text(1)";
    asked.length = 0;
    const request = { operator: "hd-1", method: "hd-1.fails", id, params: {} };
    await expect(op1.callThrough(proxy(), request)).rejects.toThrow(/do not agree/);
    expect(asked).toEqual([]);
  });

  it("tells an original by code -100 what its broker could not do [grpc 7]", async () => {
    await until(() => op1.hasClient("hd-1"), "hd-1 keeps a reverse stream to op-1");
    const answer = await op1.ask("hd-1", { method: "hd-1.add", id: "no address", params: {} });
    expect(answer).toMatchObject({
      id: "no address",
      error: { code: -100, message: expect.stringContaining("invalid ID format") },
    });
  });

  it("is called by an original through our proxy, on a new connection for each call [p2p 2]", async () => {
    asked.length = 0;
    expect(await throughProxy(op1, "hd-1", "add", "n:1")).toMatchObject({ result: { sum: 3 } });
    expect(asked).toMatchObject([
      {
        jsonrpc: "2.0",
        method: "add",
        id: "hd-1.add(n:1)",
        params: { a: 1, _client: { name: "op-1", entry: { name: "op-1" } } },
        headers: { "content-type": "application/json" },
      },
    ]);
    expect(await throughProxy(op1, "hd-1", "text")).toEqual({
      id: expect.stringMatching(/^hd-1\.text\([^)]+\)$/),
      result: { _: "ok" },
    });
  });

  it("shows the service behind it an entry as originals do, with lists for lists [addressing 2]", async () => {
    asked.length = 0;
    await throughProxy(op1, "hd-1", "add");
    const [call] = asked as [{ params: { _client: { entry: JsonObject } } }];
    const { _client } = call.params;
    const lists = ["groups", "channels", "services", "certificates", "settings", "records"];
    for (const section of lists) expect(_client.entry[section], section).toBeInstanceOf(Array);
    expect(Object.keys(_client.entry)).toEqual(expect.arrayContaining([...lists, "properties"]));
    expect(JSON.stringify(_client.entry["channels"])).not.toContain("[null");
  });

  it("says UNKNOWN to an original whose call its broker cannot place [grpc 7]", async () => {
    const call = { port: town.port(5556), name: PROXY };
    const request = { method: `${PROXY}.x`, id: "no address", params: {} };
    await expect(op1.call(call, request)).rejects.toThrow(
      /code = 2 desc = error handling gRPC request: .*invalid ID format/,
    );
  });

  it("refuses an original that gives itself another name than its certificate's [grpc 4]", async () => {
    const method = `${PROXY}.requestConnection`;
    const request = { method, id: `${method}(1)`, params: { to: "hd-1", channel: "grpc_server" } };
    await expect(op1.call(proxy(), { ...request, clientName: "hd-2" })).rejects.toThrow(
      /code = 2 desc = .*no matching client/,
    );
    // The empty name is that of the certificate.
    const { result } = await op1.call(proxy(), { ...request, clientName: "" });
    expect(result).toMatchObject({ token: expect.stringMatching(/^[\w+/]{43}=$/) });
  });

  it("is called by originals with what TLS 1.2 they have [grpc 2]", async () => {
    const old = new OriginalEndpoint("op-1", {
      certs: town.certs,
      directory,
      tls: { maxVersion: "TLSv1.2" },
    });
    expect(await throughProxy(old, "hd-1", "text")).toMatchObject({ result: { _: "ok" } });
    await old[Symbol.asyncDispose]();
  });
});

describe("our proxy, with its endpoint", () => {
  it("brings two originals together [p2p 3]", async () => {
    expect(await throughProxy(op1, "hd-2", "add")).toMatchObject({
      id: expect.stringMatching(/^hd-2\.add\([^)]+\)$/),
      result: { method: "add", params: { a: 1, _client: { name: "op-1" } } },
    });
    const request = hd2.requests.find(({ method }) => method === "hd-2._connectionRequest");
    const { endpoint, token, channel, client } = request?.params ?? {};
    expect(Object.keys(request?.params ?? {}).sort()).toEqual([
      "_client",
      "channel",
      "client",
      "endpoint",
      "token",
    ]);
    expect({ endpoint, channel }).toEqual({
      endpoint: `localhost:${town.port(9999)}`,
      channel: "grpc_server",
    });
    expect(Buffer.from(String(token), "base64")).toHaveLength(32);
    expect(token).toMatch(/^[A-Za-z0-9+/]{43}=$/);
    expect(client).toMatchObject({ name: "hd-1", entry: { channels: expect.any(Array) } });
  });

  it("asks an original many things at once, which answers one after the other [jsonrpc 1]", async () => {
    const call = (n: number) =>
      originalCall(
        { port: town.port(5544), tls: tlsOf(town.certs, PROXY), server_name: PROXY },
        { method: "hd-2.add", params: { n } },
      );
    const answers = await Promise.all(Array.from({ length: 10 }, (_, n) => call(n)));
    // All ids were empty, and none was taken for another's.
    for (const [n, { status, result }] of answers.entries()) {
      expect(status).toBe(200);
      expect(result).toMatchObject({ params: { n, _client: { name: PROXY } } });
    }
    const asked = hd2.requests.filter(({ clientName }) => clientName === PROXY);
    expect(asked.length).toBeGreaterThanOrEqual(10);
    const ids = hd2.requests.map(({ id }) => id).filter((id) => id.startsWith("hd-2.add("));
    expect(new Set(ids).size).toBe(ids.length);
  });

  it("asks the newer of two streams of one original, and still does once the older is gone", async () => {
    const newer = new OriginalEndpoint("hd-2", { certs: town.certs, directory, backend });
    hd2.retire();
    void newer.serveBy(proxy());
    const call = async () => {
      const to = { port: town.port(5544), tls: tlsOf(town.certs, PROXY), server_name: PROXY };
      expect(await originalCall(to, { method: "hd-2.text" })).toMatchObject({ result: "ok" });
      expect(newer.requests.length).toBeGreaterThan(0);
    };
    await eventually(10_000, call);
    await hd2[Symbol.asyncDispose]();
    const before = newer.requests.length;
    await call();
    expect(newer.requests.length).toBe(before + 1);
    hd2 = newer;
  });

  it("never ends a stream of an original with OK, not even when it stops [grpc 5]", async () => {
    const before = hd2.endings.length;
    await town.stop("public-proxy-eps-1");
    await until(() => hd2.endings.length > before, "the stream ends");
    await town.start("public-proxy-eps-1");
    await eventually(10_000, async () =>
      expect(await throughProxy(op1, "hd-2", "text")).toMatchObject({ result: { _: "ok" } }),
    );
    expect(hd2.endings).not.toContain("0");
  });
});

describe("our endpoint, when the directory says that an original has moved", () => {
  it("calls it and keeps its stream to it there", async () => {
    const there = await freePort();
    const moved = new OriginalEndpoint("op-1", {
      certs: town.certs,
      directory,
      backend: () => "moved",
    });
    await moved.listen(there);
    const address = { type: "grpc_server", settings: { address: `localhost:${there}` } };
    const created_at = "2026-01-03T00:00:00Z"; // the time that counts is when it is submitted
    const record = {
      name: "op-1",
      section: "channels",
      data: [{ type: "grpc_client" }, address],
      created_at,
    };
    const file = join(town.folder, "moved.json");
    await writeFile(file, JSON.stringify({ records: [record] }));
    const env = { ...process.env, EPS_SETTINGS: town.settings("hd-1") };
    const argv = ["dist/bin/eps.js", "sd", "submit-records", file];
    await promisify(execFile)(process.execPath, argv, { env });
    await eventually(10_000, async () =>
      expect(await fromHd1("op-1.text")).toEqual({ result: "moved" }),
    );
    await until(() => moved.hasClient("hd-1"), "hd-1 keeps a reverse stream to it");
    await until(() => !op1.hasClient("hd-1"), "and none to where it was");
    await moved[Symbol.asyncDispose]();
  });
});
