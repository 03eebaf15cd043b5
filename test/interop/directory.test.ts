import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Town } from "../../src/roles/dev/town.ts";
import { addRecords } from "../support/originals.ts";
import { foundTown, settingsWithCertificates } from "../support/town.ts";
import { CHAIN, DIGESTS } from "../unit/directory/vectors.ts";
import { tlsOf } from "./original/certificates.ts";
import { originalCall } from "./original/jsonrpc.ts";
import type { Json, JsonObject } from "./original/messages.ts";
import { nanoseconds, normalised, type Signed, verify } from "./original/sd.ts";
import { structuredHash } from "./original/structured-hash.ts";

/** Our directory server, and an original client that trusts nothing it serves. */
let settings: Awaited<ReturnType<typeof settingsWithCertificates>>;
let town: Town;
let records: Signed[];

beforeAll(async () => {
  settings = await settingsWithCertificates();
  const service = {
    name: "locations",
    params: [1],
    permissions: [{ group: "*", rights: ["call"] }],
  };
  await addRecords(settings.folder, [
    {
      name: "op-2",
      section: "services",
      data: [{ ...service, methods: [{ name: "add", params: [] }] }],
    },
    { name: "op-2", section: "preferences", data: [{ service: "proxy", settings: { a: 1 } }] },
  ]);
  town = await foundTown(settings.folder);
  // An original client has a connection for each call, and all of them come from one address here.
  const file = join(town.settings("sd-1"), "001_default.yml");
  await writeFile(file, (await readFile(file, "utf8")).replace("limit: 10\n", "limit: 1000\n"));
  await town.start("sd-1");
  await town.setUp();
  records = (await call("getRecords", { after: "" })).result as unknown as Signed[];
});
afterAll(async () => {
  await town[Symbol.asyncDispose]();
  await settings[Symbol.asyncDispose]();
});

/** `id` is empty, as originals have it. */
const call = (method: string, params: JsonObject = {}, id: Json = "") =>
  originalCall(
    { port: town.port(3322), tls: tlsOf(town.certs, "hd-1"), server_name: "sd-1" },
    { method, params, id },
  );

describe("the hash of the originals, written twice", () => {
  it("is that of the vectors", () => {
    for (const [index, { parent_hash, hash, record }] of CHAIN.entries()) {
      expect(structuredHash(record).toString("hex")).toBe(hash);
      expect(structuredHash({ hash, parent_hash, record }).toString("hex")).toBe(DIGESTS[index]);
    }
  });
});

describe("our directory server, to an original client", () => {
  it("serves records in the order of their chain, each the child of the one before [directory 3]", () => {
    expect(records.length).toBeGreaterThan(20);
    for (const [index, { parent_hash }] of records.entries()) {
      expect(parent_hash).toBe(records[index - 1]?.hash ?? "");
    }
  });

  it("serves records whose hash, signature, signer and pin are in order [directory 2]", () => {
    for (const [index, record] of records.entries()) {
      verify(record, records.slice(0, index), town.certs);
    }
    const [first] = records as [Signed];
    const forged = { ...first, record: { ...first.record, name: "mallory" } };
    expect(() => verify(forged, [], town.certs)).toThrow(/invalid hash value/);
    const swapped = { ...first, parent_hash: "0".repeat(64) };
    expect(() => verify(swapped, [], town.certs)).toThrow(/the signature/);
  });

  it("serves data in normal form, without the keys that nobody knows [directory 3]", () => {
    for (const { record } of records) {
      expect(record.data).toEqual(record.data.map((each) => normalised(record.section, each)));
    }
    expect(JSON.stringify(records.filter(({ record }) => record.name === "op-2"))).not.toContain(
      "params",
    );
  });

  it("writes times as originals do, each later than the one before [directory 1]", () => {
    let before = 0n;
    for (const { record } of records) {
      // No zeros at the end of a fraction, and Z or an offset.
      expect(record.created_at).toMatch(
        /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{0,8}[1-9])?(Z|[+-]\d\d:\d\d)$/,
      );
      const time = nanoseconds(record.created_at);
      expect(time).toBeGreaterThan(before);
      before = time;
    }
  });

  it("signs with numbers in decimal and the certificate of the leaf first [directory 2]", () => {
    for (const { signature } of records) {
      expect(signature.r).toMatch(/^\d{10,100}$/);
      expect(signature.s).toMatch(/^\d{10,100}$/);
      expect(signature.c).toMatch(/^-----BEGIN CERTIFICATE-----\n/);
    }
  });

  it("serves what comes after a hash, and all of it after one that it does not know [directory 3]", async () => {
    const recordsAfter = (hash: string) => call("getRecords", { after: hash });
    expect((await recordsAfter(records[2]?.hash ?? "")).result).toEqual(records.slice(3));
    expect((await recordsAfter(records.at(-1)?.hash ?? "")).result).toEqual([]);
    expect((await recordsAfter("f".repeat(64))).result).toEqual(records);
    expect((await call("getTip")).result).toEqual(records.at(-1));
  });

  it("serves entries with the lists, objects and nulls that originals insist on [directory 5]", async () => {
    const { result } = await call("getEntry", { name: "op-2" });
    const { name, records: own, ...rest } = result as JsonObject;
    expect(name).toBe("op-2");
    expect(own).toHaveLength(3);
    expect(rest).toMatchObject({
      groups: [],
      channels: [],
      settings: [],
      services: [
        {
          name: "locations",
          permissions: [{ group: "*", rights: ["call"] }],
          methods: [{ name: "add", permissions: [], parameters: null }],
        },
      ],
      preferences: [{ operator: "", service: "proxy", environment: "" }],
      properties: { displayName: "" },
    });
    const { result: plain } = await call("getEntry", { name: "demo-app" });
    expect(plain).toMatchObject({ preferences: null, services: [], groups: [] });
    const { result: hd1 } = await call("getEntry", { name: "hd-1" });
    expect((hd1 as JsonObject)["channels"]).toEqual([
      { type: "grpc_client", settings: {} },
      { type: "grpc_server", settings: expect.any(Object) },
    ]);
  });

  it.each([[5], [-3], ["n:5"], ["nn:5"], ["text"]])(
    "gives the id %j back as it was [jsonrpc 1]",
    async (id) => {
      expect((await call("getTip", {}, id)).id).toBe(id);
    },
  );

  it("says what is wrong with a code that is a whole number, and HTTP 400 [jsonrpc 3]", async () => {
    expect(await call("getEntry", { name: "nobody" })).toMatchObject({
      status: 400,
      error: { code: 404, message: "not found" },
    });
    expect(await call("getNothing")).toMatchObject({ status: 400, error: { code: -32601 } });
    expect(await call("getRecords", { after: "not a hash" })).toMatchObject({
      status: 400,
      error: { code: -32602, message: expect.stringContaining("invalid params") },
    });
  });
});
