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
const { Point } = p256;
const AS_IT_IS = { prehash: false, lowS: false } as const;

/** SEC 1, 4.1.4, with multiples of the key from a table. `p256.verify` is right too, and three times as slow. */
export function verifyDigest(key: KeyObject, digest: Buffer, { r, s }: Numbers): boolean {
  const { BASE, Fn } = Point;
  if (!Fn.isValidNot0(r) || !Fn.isValidNot0(s)) return false;
  const inverse = Fn.inv(s);
  const hash = Fn.create(BigInt(`0x${digest.toString("hex")}`));
  const sum = BASE.multiplyUnsafe(Fn.mul(hash, inverse)).add(
    pointOf(key).multiplyUnsafe(Fn.mul(r, inverse)),
  );
  return !sum.is0() && Fn.create(sum.toAffine().x) === r;
}

export function signDigest(key: KeyObject, digest: Buffer): Numbers {
  const { d = "" } = key.export({ format: "jwk" });
  const { r, s } = p256.Signature.fromBytes(
    p256.sign(digest, Buffer.from(d, "base64url"), AS_IT_IS),
  );
  return { r, s };
}

type Point = InstanceType<typeof Point>;

/** A directory has many records and few signers, so each key's table is made once. It has about 500 points. */
const points = new WeakMap<KeyObject, Point>();
const TABLE_WINDOW_BITS = 4;

function pointOf(key: KeyObject): Point {
  const known = points.get(key);
  if (known) return known;
  const { x = "", y = "" } = key.export({ format: "jwk" });
  const uncompressed = [Buffer.of(4), Buffer.from(x, "base64url"), Buffer.from(y, "base64url")];
  const point = Point.fromBytes(Buffer.concat(uncompressed)).precompute(TABLE_WINDOW_BITS);
  points.set(key, point);
  return point;
}
