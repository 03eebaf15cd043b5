import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { digestOf } from "../../../src/directory/chain.ts";
import { LIMITS } from "../../../src/directory/limits.ts";
import {
  ChangeRecord,
  normalise,
  refuseUnportable,
  SignedRecord,
} from "../../../src/directory/record.ts";
import { structuredHash } from "../../../src/wire/structured-hash.ts";
import { CHAIN } from "./vectors.ts";

const T = "2021-05-17T10:00:00Z";
const PARENT = "d3eb785faac5fafa52a51a5fc044309b450090eca330ac432de660274fac1dc2";
const change = (section: string, data: unknown, more = {}) =>
  normalise(ChangeRecord, { name: "hd-1", section, data, created_at: T, ...more }, "the record");
const hash = (value: unknown): string => structuredHash(value).toString("hex");

/** eps-protocol 8.4: a record, its hash, and its digests as a root and behind PARENT. */
const VECTORS: Array<[record: object, r: string, d0: string, d1: string]> = [
  [
    {
      created_at: T,
      section: "groups",
      name: "hd-1",
      data: ["health-departments"],
    },
    "d3eb785faac5fafa52a51a5fc044309b450090eca330ac432de660274fac1dc2",
    "cdec6acac6b60074e169ce41538fecaabd6e4353ae3fba12212ff29bfb091453",
    "4b4b4b5e3ed65e18bfaef91f260c9edfded94bb4722ac23f6f7509c846803d87",
  ],
  [
    {
      created_at: "2021-05-17T12:00:00.120+02:00",
      section: "channels",
      name: "hd-1",
      data: [
        { type: "grpc_client" },
        {
          type: "grpc_server",
          settings: { address: "localhost:8888", proxy: "public-proxy-1.ga" },
        },
      ],
    },
    "513370ce29383714beb7215f29cca3043348a6e34e30d9c56227f233b8088eb6",
    "a8e0cd7a9642127064f4478c425388aa22ed36586cd4fcffe07ff410ca37dc45",
    "96518e1855b19bbdff4d8d63f509d59bd90543948a9408a5c57ea05ac12d6313",
  ],
  [
    { created_at: "2021-05-17T12:00:00.000+00:00", section: "groups", name: "hd-1", data: [] },
    "5e152a3778dd21cc2df1c3a4f9e6cd1283a1b09d1e1287945a311353a3b4e336",
    "fda11f9297127e942de890e6dc483d7d635497bffa9cd1cf3528bfb68f5f1a6f",
    "5f5c1a572c0e86bd5b225db9b994d6f4b511d58ec096b243f2f1e01cebfb19ad",
  ],
  [
    {
      created_at: "2021-05-17T12:00:00.123456789-07:00",
      section: "settings",
      name: "hd-1",
      data: [
        {
          operator: "",
          service: "proxy",
          environment: "production",
          settings: {
            allowed_domains: [".internal-server.local"],
            limit: 10,
            on: true,
            off: false,
            x: {},
          },
        },
      ],
    },
    "2305f583b180b6c6f060603c1302d7cff49794527395098638f20c909bd9aa46",
    "92e3f29d14076737a14ba90520bdfc341276daec6645be40520f272ccb9739bf",
    "f83efc5f3bc67be6042f8b25db012d564b2b394ee6c3ad6c252b85f1f566a2c0",
  ],
];

describe("a record in its normal form", () => {
  it.each(VECTORS)("hashes as the original's: %j [directory 1]", (value, r, d0, d1) => {
    const record = normalise(ChangeRecord, value, "it");
    expect(hash(record)).toBe(r);
    expect(digestOf({ hash: r, parent_hash: "", record }).toString("hex")).toBe(d0);
    expect(digestOf({ hash: r, parent_hash: PARENT, record }).toString("hex")).toBe(d1);
  });

  it("has no keys that the original drops [directory 1]", () => {
    const channel = { type: "stdout", settings: {}, params: 1 };
    expect(change("channels", [channel], { colour: "red" })).toEqual({
      name: "hd-1",
      section: "channels",
      data: [{ type: "stdout", settings: {} }],
      created_at: T,
    });
  });

  it.each([undefined, null, ""])("takes %j for nothing where something is optional", (blank) => {
    expect(change("channels", [{ type: "a", settings: blank }]).data).toStrictEqual([
      { type: "a" },
    ]);
    expect(
      change("services", [{ name: "a", permissions: blank, methods: blank }]).data,
    ).toStrictEqual([{ name: "a", permissions: [], methods: [] }]);
    expect(
      change("settings", [{ operator: blank, service: blank, environment: blank, settings: {} }])
        .data,
    ).toStrictEqual([{ operator: "", service: "", environment: "", settings: {} }]);
    const method = {
      name: "m",
      parameters: [{ name: "p", validators: [{ type: "v", parameters: blank }] }],
    };
    expect(change("services", [{ name: "a", methods: [method] }]).data).toStrictEqual([
      {
        name: "a",
        permissions: [],
        methods: [
          { name: "m", permissions: [], parameters: [{ name: "p", validators: [{ type: "v" }] }] },
        ],
      },
    ]);
  });

  it("leaves settings alone, even strange ones", () => {
    const settings = JSON.parse('{"__proto__":{"a":1},"b":[null,{"c":""}],"constructor":0}');
    const [{ settings: kept }] = change("settings", [{ settings }]).data as unknown as [
      { settings: object },
    ];
    expect(hash(kept)).toBe(hash(settings));
    expect(Object.keys(kept)).toEqual(["__proto__", "b", "constructor"]);
  });

  it("is its own normal form, and hashes the same with and without its defaults", () =>
    fc.assert(
      fc.property(
        fc.array(
          fc.record(
            {
              name: fc.string(),
              permissions: fc.oneof(
                fc.constantFrom(null, "", undefined),
                fc.array(
                  fc.record({ group: fc.string(), rights: fc.constantFrom([], ["call"], null) }),
                ),
              ),
              methods: fc.oneof(
                fc.constantFrom(null, "", undefined),
                fc.array(
                  fc.record({
                    name: fc.string(),
                    parameters: fc.option(fc.array(fc.record({ name: fc.string() }))),
                  }),
                ),
              ),
            },
            { requiredKeys: ["name"] },
          ),
        ),
        (data) => {
          const once = change("services", data);
          expect(change("services", once.data)).toStrictEqual(once);
          expect(hash(once.data)).toBe(hash(data));
        },
      ),
    ));
});

describe("what is no record", () => {
  const deep = JSON.parse(`${'{"a":'.repeat(60)}1${"}".repeat(60)}`);
  it.each<[what: string, section: string, data: unknown, more?: object]>([
    ["an unknown section", "properties", []],
    ["data that is no list", "groups", {}],
    ["null data", "groups", null],
    ["a group that is no string", "groups", [1]],
    ["a channel without a type", "channels", [{}]],
    ["settings that are a list", "channels", [{ type: "a", settings: [] }]],
    ["missing settings", "settings", [{ service: "proxy" }]],
    ["settings that nest too deep", "settings", [{ settings: deep }]],
    ["a number that JSON cannot say", "settings", [{ settings: { a: Number.POSITIVE_INFINITY } }]],
    [
      "an unknown right",
      "services",
      [{ name: "a", permissions: [{ group: "*", rights: ["own"] }] }],
    ],
    [
      "the same right twice",
      "services",
      [{ name: "a", permissions: [{ group: "*", rights: ["call", "call"] }] }],
    ],
    ["a missing time", "groups", [], { created_at: undefined }],
    ["a day that does not exist", "groups", [], { created_at: "2021-02-30T00:00:00Z" }],
    ["a name that is no string", "groups", [], { name: 7 }],
    ["a very long name", "groups", [], { name: "x".repeat(LIMITS.name_length_max + 1) }],
    ["very many groups", "groups", Array(LIMITS.list_length_max + 1).fill("x")],
    ["very much data", "settings", [{ settings: { a: "x".repeat(LIMITS.data_length_max) } }]],
  ])("is %s", (_, section, data, more) => {
    expect(() => change(section, data, more)).toThrow(
      expect.objectContaining({
        fault: "malformed",
        message: expect.stringMatching(/^the record is not valid: /),
      }),
    );
  });

  it("is told with its place", () => {
    expect(() => change("channels", [{ type: "a" }, { type: 2 }])).toThrow(/data\.1\.type: /);
  });

  it.each<[string, (signed: Record<string, unknown>) => void]>([
    ["a short hash", (signed) => Object.assign(signed, { hash: "ab" })],
    ["a parent in capitals", (signed) => Object.assign(signed, { parent_hash: "AB".repeat(32) })],
    ["no signature", (signed) => Object.assign(signed, { signature: null })],
    [
      "a negative number",
      (signed) => Object.assign(signed, { signature: { r: "-12345678901", s: "1", c: "" } }),
    ],
  ])("is a signed one with %s", (_, bend) => {
    const signed = structuredClone(CHAIN[1]) as unknown as Record<string, unknown>;
    bend(signed);
    expect(() => normalise(SignedRecord, signed, "it")).toThrow(/^it is not valid/);
  });
});

describe("what JSON text would change", () => {
  it.each([{ a: [-0] }, { a: "\ud800" }, { "\udc00": 1 }])("is refused: %j", (value) => {
    expect(() => refuseUnportable(value, "it")).toThrow(/^it cannot be passed on as it is/);
  });

  it("is not refused when it is nothing of the kind", () => {
    expect(() => refuseUnportable({ a: [0, -1, "😀", null, true] }, "it")).not.toThrow();
  });
});
