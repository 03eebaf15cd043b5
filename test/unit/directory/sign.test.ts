import { createHash, generateKeyPairSync, sign, verify } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Chain } from "../../../src/directory/chain.ts";
import { signDigest, verifyDigest } from "../../../src/directory/ecdsa.ts";
import { openSigner, type SignerSettings, verifyData } from "../../../src/directory/sign.ts";
import {
  digitalSignature,
  type Holder,
  issue,
  issueRoot,
  issueSigner,
  names,
  signerOf,
  trusting,
  usage,
} from "./authority.ts";

const pair = () => generateKeyPairSync("ec", { namedCurve: "P-256" });
const sha256 = (bytes: Uint8Array): Buffer => createHash("sha256").update(bytes).digest();
const numbersOf = (bytes: Buffer) => ({
  r: BigInt(`0x${bytes.subarray(0, 32).toString("hex")}`),
  s: BigInt(`0x${bytes.subarray(32).toString("hex")}`),
});
const bytesOf = ({ r, s }: { r: bigint; s: bigint }): Buffer =>
  Buffer.from([r, s].map((each) => each.toString(16).padStart(64, "0")).join(""), "hex");

describe("a signature over a digest", () => {
  const message = fc.uint8Array({ maxLength: 100 });
  const dsaEncoding = "ieee-p1363";

  it("is what OpenSSL makes of the message", () =>
    fc.assert(
      fc.asyncProperty(message, async (bytes) => {
        const { privateKey, publicKey } = pair();
        const theirs = numbersOf(sign("sha256", bytes, { key: privateKey, dsaEncoding }));
        expect(await verifyDigest(publicKey, sha256(bytes), theirs)).toBe(true);
        const ours = bytesOf(signDigest(privateKey, sha256(bytes)));
        expect(verify("sha256", bytes, { key: publicKey, dsaEncoding }, ours)).toBe(true);
      }),
      { numRuns: 50 },
    ));

  it("is nobody else's, and for nothing else", () =>
    fc.assert(
      fc.asyncProperty(message, message, async (bytes, others) => {
        fc.pre(Buffer.compare(bytes, others) !== 0);
        const { privateKey, publicKey } = pair();
        const numbers = signDigest(privateKey, sha256(bytes));
        expect(await verifyDigest(publicKey, sha256(others), numbers)).toBe(false);
        expect(await verifyDigest(pair().publicKey, sha256(bytes), numbers)).toBe(false);
        const turned = { r: numbers.s, s: numbers.r };
        expect(await verifyDigest(publicKey, sha256(bytes), turned)).toBe(false);
      }),
      { numRuns: 30 },
    ));

  it("also covers the digest that needs no shift, and digests of nothing but zeros", async () => {
    const { privateKey, publicKey } = pair();
    for (const digest of [sha256(Buffer.alloc(0)), Buffer.alloc(32), Buffer.alloc(32, 255)]) {
      expect(await verifyDigest(publicKey, digest, signDigest(privateKey, digest))).toBe(true);
    }
  });
});

describe("a signer from files", () => {
  let folder = "";
  let root: Holder;
  let admin: Holder;
  const file = async (name: string, text: string): Promise<string> => {
    const path = join(folder, name);
    await writeFile(path, text);
    return path;
  };
  const keyOf = ({ key }: Holder, type: "sec1" | "pkcs8" = "sec1"): string =>
    String(key.export({ format: "pem", type }));
  const settings = async (
    wish: { name?: string; leaf?: string; key?: string; root?: string } = {},
  ): Promise<SignerSettings> => ({
    name: wish.name ?? "hd-1",
    certificate_file: await file("leaf.crt", wish.leaf ?? admin.pem + root.pem),
    key_file: await file("leaf.key", wish.key ?? keyOf(admin)),
    ca_certificate_file: await file("root.crt", wish.root ?? root.pem),
    ca_intermediate_certificate_files: [],
  });

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "sign-"));
    root = await issueRoot();
    admin = await issueSigner("hd-1", root);
  });
  afterAll(() => rm(folder, { recursive: true }));

  const PARAMETERS =
    "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n";

  it.each([
    ["SEC1", () => keyOf(admin)],
    ["SEC1 behind parameters", () => PARAMETERS + keyOf(admin)],
    ["PKCS#8", () => keyOf(admin, "pkcs8")],
  ])("signs with a key in %s what everybody believes [directory 4]", async (_, key) => {
    const signer = await openSigner(await settings({ key: key() }));
    const created_at = "2021-05-17T12:00:00.120+02:00";
    const signed = signer.sign(
      { name: "hd-1", section: "groups", data: ["a"], created_at, x: 1 },
      "",
    );
    expect(signed.record).toEqual({
      name: "hd-1",
      section: "groups",
      data: ["a"],
      created_at: "2021-05-17T12:00:00.12+02:00",
    });
    expect(signed.signature.c).toBe(admin.pem);
    expect(signed.signature.c).toMatch(
      /^-----BEGIN CERTIFICATE-----\n([^\n]{64}\n)+[^\n]{1,64}\n-----END/,
    );
    await Chain.empty(trusting([root])).append(signed);
  });

  it.each<[why: string, wish: () => Promise<Parameters<typeof settings>[0]>, cause: RegExp]>([
    [
      "somebody else's key",
      async () => ({ key: keyOf(await issueRoot()) }),
      /the key in .*leaf.key is not that of/,
    ],
    ["no key", async () => ({ key: admin.pem }), /leaf.key cannot be used.*no private key/s],
    [
      "an encrypted key",
      async () => ({
        key: String(
          admin.key.export({
            format: "pem",
            type: "pkcs8",
            cipher: "aes-256-cbc",
            passphrase: "x",
          }),
        ),
      }),
      /the private key is encrypted/,
    ],
    [
      "a broken key",
      async () => ({ key: keyOf(admin).replace("MHc", "AAA") }),
      /leaf.key cannot be used/,
    ],
    ["another name", async () => ({ name: "hd-2" }), /is not for hd-2: its DNS names are hd-1/],
    [
      "another root",
      async () => ({ root: (await issueRoot()).pem }),
      /leaf.crt cannot be used.*not trusted/s,
    ],
    ["a root that is none", async () => ({ root: "x" }), /root.crt is not a PEM file/],
    [
      "an expired certificate",
      async () => ({ leaf: (await issueSigner("hd-1", root, { from: -1, until: -0.1 })).pem }),
      /expired on/,
    ],
  ])("is refused with %s", async (_, wish, message) => {
    const fault = await openSigner(await settings(await wish())).catch((reason) => reason);
    expect(fault).toMatchObject({ fault: "settings" });
    expect([fault.message, fault.cause?.message].join(" ")).toMatch(message);
  });

  it("signs data of any shape, for its own name only", async () => {
    const trust = trusting([root]);
    const extensions = [usage(digitalSignature), names("hd-2")];
    const operator = signerOf(await issue({ name: "hd-2", issuer: root, extensions }));
    const data = { b: [1, { c: "x" }], a: "y" };
    const signed = JSON.parse(JSON.stringify(operator.signData(data)));
    expect(Object.keys(signed)).toEqual(["signature", "data"]);
    expect(await verifyData(signed, "hd-2", trust)).toEqual(data);
    await expect(verifyData(signed, "hd-1", trust)).rejects.toThrow(/signed by hd-2, not by hd-1/);
    signed.data.a = "z";
    await expect(verifyData(signed, "hd-2", trust)).rejects.toThrow(/signature is not hd-2's/);
    await expect(verifyData({ data }, "hd-2", trust)).rejects.toThrow(/not valid/);
  });

  it("signs nothing that others would read differently", () => {
    expect(() => signerOf(admin).signData({ a: -0 })).toThrow(/negative zero/);
    expect(() => signerOf(admin).sign({ name: "a" }, "")).toThrow(/the record is not valid/);
  });
});
