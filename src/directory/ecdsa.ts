import { createECDH, createHash, createPublicKey, type KeyObject, sign, verify } from "node:crypto";
import { promisify } from "node:util";

/**
 * ECDSA on P-256 over a digest that is already there.
 *
 * Records are signed over their structured hash as it is (eps-protocol 8.4), while node:crypto and
 * WebCrypto insist on hashing what they sign. So OpenSSL does the work on a message of ours, and
 * arithmetic moves the result to the digest. With e the digest and h the SHA-256 of our message, a
 * signature (r, s) for e under the key Q satisfies the same equation as (r, s) for h under
 * Q + r⁻¹(e - h)·G: `eG + rQ = hG + r(Q + r⁻¹(e - h)G)`.
 */

export type Numbers = { r: bigint; s: bigint };

const verifyLater = promisify(verify);

export const CURVE = "prime256v1";
const P = 0xffffffff00000001000000000000000000000000ffffffffffffffffffffffffn;
const N = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;
const SIZE = 32;

/** The message that OpenSSL verifies, and its SHA-256. */
const MESSAGE = Buffer.alloc(0);
const MESSAGE_HASH = 0xe3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855n;

export async function verifyDigest(
  key: KeyObject,
  digest: Buffer,
  { r, s }: Numbers,
): Promise<boolean> {
  if (r <= 0n || r >= N || s <= 0n || s >= N) return false;
  const shift = mod((toNumber(digest) - MESSAGE_HASH) * invert(r, N), N);
  const moved = add(pointOf(key), timesBase(shift));
  if (!moved) return false;
  const signature = Buffer.concat([toBytes(r), toBytes(s)]);
  return verifyLater(
    "sha256",
    MESSAGE,
    { key: keyOf(moved), dsaEncoding: "ieee-p1363" },
    signature,
  );
}

/**
 * OpenSSL signs the digest's own SHA-256, h, with a nonce k that it chooses: s' = (h + rd)/k. The
 * signature wanted is (e + rd)/k. The message differs with the digest because a nonce derived from
 * the message must not serve two digests. The arithmetic on d takes a time that depends on d, which
 * is no secret from an administrator who signs on a machine of their own.
 */
export function signDigest(key: KeyObject, digest: Buffer): Numbers {
  const bytes = sign("sha256", digest, { key, dsaEncoding: "ieee-p1363" });
  const r = toNumber(bytes.subarray(0, SIZE));
  const rd = r * toNumber(Buffer.from(key.export({ format: "jwk" }).d ?? "", "base64url"));
  const hash = createHash("sha256").update(digest).digest();
  const moved = (toNumber(digest) + rd) * invert(toNumber(hash) + rd, N);
  return { r, s: mod(toNumber(bytes.subarray(SIZE)) * moved, N) };
}

type Point = { x: bigint; y: bigint };

/** The sum of two points, or undefined for the point at infinity. No input here is secret. */
function add(a: Point, b: Point | undefined): Point | undefined {
  if (!b) return a;
  if (a.x === b.x && a.y !== b.y) return undefined;
  const slope =
    a.x === b.x
      ? (3n * a.x * a.x - 3n) * invert(2n * a.y, P)
      : (b.y - a.y) * invert(mod(b.x - a.x, P), P);
  const x = mod(slope * slope - a.x - b.x, P);
  return { x, y: mod(slope * (a.x - x) - a.y, P) };
}

/** The base point taken `factor` times; undefined for none. */
function timesBase(factor: bigint): Point | undefined {
  if (factor === 0n) return undefined;
  const multiplier = createECDH(CURVE);
  multiplier.setPrivateKey(toBytes(factor));
  const point = multiplier.getPublicKey();
  return { x: toNumber(point.subarray(1, 1 + SIZE)), y: toNumber(point.subarray(1 + SIZE)) };
}

function pointOf(key: KeyObject): Point {
  const { x = "", y = "" } = key.export({ format: "jwk" });
  return { x: toNumber(Buffer.from(x, "base64url")), y: toNumber(Buffer.from(y, "base64url")) };
}

function keyOf({ x, y }: Point): KeyObject {
  const text = (number: bigint): string => toBytes(number).toString("base64url");
  return createPublicKey({
    format: "jwk",
    key: { kty: "EC", crv: "P-256", x: text(x), y: text(y) },
  });
}

/** By Euclid; the modulus is a prime and the number not a multiple of it. */
function invert(number: bigint, modulus: bigint): bigint {
  let [a, b] = [mod(number, modulus), modulus];
  let [x, y] = [1n, 0n];
  while (a > 1n) {
    const quotient = b / a;
    [a, b] = [b - quotient * a, a];
    [x, y] = [y - quotient * x, x];
  }
  return mod(x, modulus);
}

function mod(number: bigint, modulus: bigint): bigint {
  const rest = number % modulus;
  return rest < 0n ? rest + modulus : rest;
}

function toNumber(bytes: Buffer): bigint {
  return BigInt(`0x${bytes.toString("hex")}`);
}

function toBytes(number: bigint): Buffer {
  return Buffer.from(number.toString(16).padStart(2 * SIZE, "0"), "hex");
}
