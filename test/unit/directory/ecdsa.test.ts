import { createHash, generateKeyPairSync, type KeyObject, randomBytes, sign } from "node:crypto";
import { p256 } from "@noble/curves/nist.js";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { CURVE, type Numbers, signDigest, verifyDigest } from "../../../src/directory/ecdsa.ts";

const { n } = p256.Point.CURVE();
const makeKeys = () => generateKeyPairSync("ec", { namedCurve: CURVE });
const { privateKey, publicKey } = makeKeys();

/** What the library says, which makes no table of the key. */
function believed(key: KeyObject, digest: Buffer, { r, s }: Numbers): boolean {
  const { x = "", y = "" } = key.export({ format: "jwk" });
  const point = [Buffer.of(4), Buffer.from(x, "base64url"), Buffer.from(y, "base64url")];
  const signature = new p256.Signature(r, s).toBytes();
  const asItIs = { prehash: false, lowS: false };
  return p256.verify(signature, digest, Buffer.concat(point), asItIs);
}

describe("a signature over a digest", () => {
  it("that OpenSSL made is believed, with either value of s", () => {
    fc.assert(
      fc.property(fc.uint8Array(), (data) => {
        const bytes = sign("sha256", data, { key: privateKey, dsaEncoding: "ieee-p1363" });
        const digest = createHash("sha256").update(data).digest();
        const { r, s } = p256.Signature.fromBytes(bytes);
        expect(verifyDigest(publicKey, digest, { r, s })).toBe(true);
        expect(verifyDigest(publicKey, digest, { r, s: n - s })).toBe(true);
      }),
      { numRuns: 20 },
    );
  });

  it("is believed exactly when the library believes it", () => {
    const edge = fc.constantFrom(1n, 2n, n - 1n, n / 2n);
    const change = fc.bigInt({ min: 1n, max: n - 1n });
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), edge, change, (bytes, a, b) => {
        const digest = Buffer.from(bytes);
        const good = signDigest(privateKey, digest);
        for (const numbers of [good, { ...good, r: a }, { ...good, s: a }, { r: b, s: a }]) {
          const expected = believed(publicKey, digest, numbers);
          expect(verifyDigest(publicKey, digest, numbers)).toBe(expected);
        }
      }),
      { numRuns: 20 },
    );
  });

  it.each([
    ["only zeros", Buffer.alloc(32)],
    ["as large as the order of the curve", Buffer.from(n.toString(16), "hex")],
    ["larger than the order of the curve", Buffer.alloc(32, 255)],
  ])("is believed when the digest is %s", (_, digest) => {
    const numbers = signDigest(privateKey, digest);
    expect(verifyDigest(publicKey, digest, numbers)).toBe(true);
    expect(believed(publicKey, digest, numbers)).toBe(true);
  });

  it("of one key is not another's, though both have tables", () => {
    const other = makeKeys();
    const digest = randomBytes(32);
    const numbers = signDigest(privateKey, digest);
    expect(verifyDigest(other.publicKey, digest, numbers)).toBe(false);
    expect(verifyDigest(publicKey, digest, numbers)).toBe(true);
    expect(verifyDigest(other.publicKey, digest, signDigest(other.privateKey, digest))).toBe(true);
  });

  it.each([
    ["r", 0n],
    ["r", n],
    ["r", -1n],
    ["s", 0n],
    ["s", n],
    ["s", 2n ** 300n],
  ])("is not believed with %s = %d", (number, value) => {
    const digest = randomBytes(32);
    const numbers = { ...signDigest(privateKey, digest), [number]: value };
    expect(verifyDigest(publicKey, digest, numbers)).toBe(false);
  });
});
