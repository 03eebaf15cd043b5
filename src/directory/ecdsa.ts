import type { KeyObject } from "node:crypto";
import { p256 } from "@noble/curves/nist.js";

/**
 * ECDSA on P-256 over a digest that is already there.
 *
 * Records are signed over their structured hash as it is (eps-protocol 8.4), while node:crypto and
 * WebCrypto insist on hashing what they sign; hence a library that does not. Signers that are not
 * ours may use either of the two values of s.
 */
export type Numbers = { r: bigint; s: bigint };

export const CURVE = "prime256v1";
const AS_IT_IS = { prehash: false, lowS: false } as const;

export function verifyDigest(key: KeyObject, digest: Buffer, { r, s }: Numbers): boolean {
  const { n } = p256.Point.CURVE();
  if (r <= 0n || r >= n || s <= 0n || s >= n) return false;
  const signature = new p256.Signature(r, s).toBytes();
  return p256.verify(signature, digest, publicPoint(key), AS_IT_IS);
}

export function signDigest(key: KeyObject, digest: Buffer): Numbers {
  const { d = "" } = key.export({ format: "jwk" });
  const { r, s } = p256.Signature.fromBytes(
    p256.sign(digest, Buffer.from(d, "base64url"), AS_IT_IS),
  );
  return { r, s };
}

/** The public key as an uncompressed point. */
function publicPoint(key: KeyObject): Buffer {
  const { x = "", y = "" } = key.export({ format: "jwk" });
  return Buffer.concat([Buffer.of(4), Buffer.from(x, "base64url"), Buffer.from(y, "base64url")]);
}
