import { beforeAll, describe, expect, it } from "vitest";
import { Trust } from "../../../src/directory/certificates.ts";
import { Chain, digestOf } from "../../../src/directory/chain.ts";
import { normalise, SignedRecord } from "../../../src/directory/record.ts";
import { parseCertificate, parseSigner } from "../../../src/directory/x509.ts";
import { structuredHash } from "../../../src/wire/structured-hash.ts";
import {
  digitalSignature,
  type Holder,
  issueRoot,
  issueSigner,
  names,
  Pen,
  trusting,
  usage,
} from "./authority.ts";
import { CHAIN, DIGESTS, FINGERPRINT, ROOT, SIGNER } from "./vectors.ts";

describe("the chain that the original program made", () => {
  const trust = new Trust([parseCertificate(ROOT)], []);
  const bent = (bend: (second: SignedRecord) => void): Promise<Chain> => {
    const second = structuredClone(CHAIN[1]);
    bend(second);
    return Chain.empty(trust).extend([CHAIN[0], second]);
  };

  it("has the hashes, digests and fingerprint written down [directory 2]", () => {
    for (const [index, signed] of CHAIN.entries()) {
      expect(structuredHash(signed.record).toString("hex")).toBe(signed.hash);
      expect(digestOf(signed).toString("hex")).toBe(DIGESTS[index]);
      expect(normalise(SignedRecord, signed, "it")).toEqual(signed);
    }
    expect(parseSigner(SIGNER)).toMatchObject({
      fingerprint: FINGERPRINT,
      name: "vec-admin",
      groups: new Set(["sd-admin"]),
      dns_names: ["vec-admin"],
      pem: SIGNER,
    });
  });

  it("is believed [directory 2]", async () => {
    const chain = await Chain.empty(trust).extend(CHAIN);
    expect(chain.records).toEqual(CHAIN);
    expect(chain.entries.get("hd-1")?.settings[0]?.settings).toHaveProperty("limit", 10);
  });

  it("is not believed with another limit", () =>
    expect(
      bent(({ record }) => Object.assign((record.data[0] as never)["settings"], { limit: 11 })),
    ).rejects.toThrow(/^record 2 \(settings of hd-1\): its hash does not match/));

  it("is still believed without a key that said false", async () => {
    const chain = await bent(({ record }) => delete (record.data[0] as never)["settings"]["off"]);
    expect(chain.records).toHaveLength(2);
  });

  it("is not believed without a key that said {}", () =>
    expect(bent(({ record }) => delete (record.data[0] as never)["settings"]["x"])).rejects.toThrow(
      /its hash does not match/,
    ));

  it("is not believed with another parent", () =>
    expect(bent((second) => (second.parent_hash = "0".repeat(64)))).rejects.toThrow(
      /the signature is not vec-admin's for this record behind 0000/,
    ));

  it.each(["r", "s"] as const)("is not believed with another %s", (number) =>
    expect(
      bent(({ signature }) => (signature[number] = String(BigInt(signature[number]) + 1n))),
    ).rejects.toThrow(/the signature is not/),
  );

  it.each(["0000000000", String(2n ** 256n), "9".repeat(100)])("is not believed with r = %s", (r) =>
    expect(bent(({ signature }) => (signature.r = r))).rejects.toThrow(/the signature is not/),
  );
});

describe("a chain", () => {
  let root: Holder;
  let admin: Holder;
  let again: Holder;
  let other: Holder;
  let nobody: Holder;
  let trust: Trust;

  beforeAll(async () => {
    root = await issueRoot();
    [admin, again, other, nobody] = await Promise.all([
      issueSigner("hd-1", root),
      issueSigner("hd-1", root),
      issueSigner("hd-2", root),
      issueSigner("hd-3", root, { extensions: [usage(digitalSignature), names("hd-3", "clerks")] }),
    ]);
    trust = trusting([root]);
  });

  it("does not change when something is appended", async () => {
    const empty = Chain.empty(trust);
    const one = await empty.append(new Pen().write(admin, "hd-1", "groups", ["a"]));
    expect(empty.records).toHaveLength(0);
    expect(one.entries.get("hd-1")?.groups).toEqual(["a"]);
  });

  it("takes any administrator's key until the directory pins one", async () => {
    const pen = new Pen();
    const chain = await Chain.empty(trust).extend([
      pen.write(again, "hd-1", "groups", ["a"]),
      pen.write(admin, "hd-1", "groups", ["b"]),
      pen.pin(admin, "hd-1"),
    ]);
    await expect(chain.append(pen.write(again, "hd-1", "groups", ["c"]))).rejects.toMatchObject({
      fault: "forbidden",
      message: expect.stringMatching(/^record 1 .* is not the one the directory pins for hd-1/),
    });
  });

  it("follows a pin that moves, and forgets none when a record has no signing key", async () => {
    const pen = new Pen();
    const chain = await Chain.empty(trust).extend([
      pen.pin(admin, "hd-1"),
      pen.pin(admin, "hd-1", again),
      pen.write(again, "hd-1", "certificates", []),
    ]);
    const { parent } = pen;
    await expect(chain.append(pen.write(admin, "x", "groups", []))).rejects.toThrow(
      /pins for hd-1/,
    );
    pen.parent = parent;
    await chain.append(pen.write(again, "x", "groups", []));
  });

  it("counts the last of several signing keys, and no key for encryption", async () => {
    const pen = new Pen();
    const keys = [again, admin].map(({ pem }) => parseCertificate(pem).fingerprint);
    const chain = await Chain.empty(trust).append(
      pen.write(admin, "hd-1", "certificates", [
        ...keys.map((fingerprint) => ({ fingerprint, key_usage: "signing" })),
        { fingerprint: "ff", key_usage: "encryption" },
      ]),
    );
    await chain.append(pen.write(admin, "hd-1", "groups", []));
  });

  it("takes records from administrators only [directory 4]", () =>
    expect(
      Chain.empty(trust).append(new Pen().write(nobody, "hd-3", "preferences", [])),
    ).rejects.toMatchObject({
      fault: "forbidden",
      message: expect.stringContaining("its signer hd-3 is not in the group sd-admin"),
    }));

  it("does not take one administrator's signature for another's", async () => {
    const record = new Pen().write(other, "hd-1", "groups", ["a"]);
    record.signature.c = admin.pem;
    await expect(Chain.empty(trust).append(record)).rejects.toThrow(/the signature is not hd-1's/);
  });

  it("names the record and the reason when a certificate is garbage", async () => {
    const record = new Pen().write(admin, "hd-1", "groups", ["a"]);
    record.signature.c = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    await expect(Chain.empty(trust).append(record)).rejects.toMatchObject({
      fault: "malformed",
      message:
        "record 1 (groups of hd-1): its signer's certificate: its content is not an X.509 certificate",
    });
  });

  it("lets others have their turn while it verifies many records", async () => {
    const pen = new Pen();
    const records = Array.from({ length: 100 }, (_, i) =>
      pen.write(admin, `op-${i}`, "groups", ["a"]),
    );
    let turns = 0;
    const others = setInterval(() => {
      turns += 1;
    }, 1);
    const chain = await Chain.empty(trust).extend(records);
    clearInterval(others);
    expect(chain.entries.size).toBe(100);
    expect(turns).toBeGreaterThanOrEqual(5);
  });
});
