/**
 * Keys and certificates as OpenSSL made them for the original (eps-protocol 11.3), without OpenSSL.
 *
 *     root ──▶ intermediate ──▶ X, X-alt            TLS: who is at the other end
 *                          └──▶ X-sign, X-sign-alt  records: who wrote this
 */
import "reflect-metadata"; // must be loaded before x509, which throws without it
import { KeyObject, randomBytes, webcrypto } from "node:crypto";
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  cryptoProvider,
  type Extension,
  type JsonGeneralNames,
  KeyUsageFlags,
  KeyUsagesExtension,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  type X509Certificate,
  X509CertificateGenerator,
} from "@peculiar/x509";

cryptoProvider.set(webcrypto);

export type KeyKind = "ecdsa" | "rsa";

/** A key, the certificate for it, and the name both are known by. */
export type Issued = { name: string; keys: webcrypto.CryptoKeyPair; certificate: X509Certificate };

export async function makeRoot(kind: KeyKind, made: Date): Promise<Issued> {
  return issue({
    name: "Testing-Development",
    subject: "CN=Testing-Development, O=IRIS",
    keys: await makeKeys(kind),
    days: ROOT_DAYS,
    made,
    extensions: [new BasicConstraintsExtension(true, undefined, true), mayIssue()],
  });
}

export async function makeIntermediate(kind: KeyKind, made: Date, root: Issued): Promise<Issued> {
  return issue({
    name: "intermediate",
    subject: "CN=Testing-Development Intermediate, O=IRIS",
    keys: await makeKeys(kind),
    // As long as the leaves below it. The original's lasts 300 days and theirs 500, so that from
    // day 301 on nothing works although every certificate one looks at is still valid.
    days: LEAF_DAYS,
    made,
    issuer: root,
    extensions: [new BasicConstraintsExtension(true, 0, true), mayIssue()],
  });
}

/** No key usage and no extended one: the same certificate serves as a server's and as a client's. */
export async function makeTlsLeaf(
  name: string,
  kind: KeyKind,
  made: Date,
  issuer: Issued,
): Promise<Issued> {
  return issue({
    name,
    subject: `CN=${name}`,
    keys: await makeKeys(kind),
    days: LEAF_DAYS,
    made,
    issuer,
    extensions: [
      names([
        { type: "dns", value: name },
        { type: "dns", value: `*.${name}.local` },
      ]),
    ],
  });
}

/** Always a P-256 key: signatures of records know no other. Without a group the URI ends after `//`. */
export async function makeSigningLeaf(
  name: string,
  group: string,
  made: Date,
  issuer: Issued,
): Promise<Issued> {
  return issue({
    name,
    subject: `CN=${name}`,
    keys: await makeKeys("ecdsa"),
    days: LEAF_DAYS,
    made,
    issuer,
    extensions: [
      names([
        { type: "url", value: `iris-name://${name}` },
        { type: "url", value: `iris-group://${group}` },
        { type: "dns", value: name },
      ]),
      new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
    ],
  });
}

/** `PRIVATE KEY`, or for a signing key `EC PRIVATE KEY`, the only form the original can sign with. */
export function privateKeyPem({ keys }: Issued, format: "pkcs8" | "sec1"): string {
  const key = KeyObject.from(keys.privateKey);
  return key.export({ type: format, format: "pem" }).toString();
}

type Request = {
  name: string;
  subject: string;
  keys: webcrypto.CryptoKeyPair;
  days: number;
  made: Date;
  extensions: Extension[];
  /** Nobody: it signs itself. */
  issuer?: Issued;
};

async function issue(request: Request): Promise<Issued> {
  const { name, subject, keys, days, made, extensions } = request;
  const issuerKeys = request.issuer?.keys ?? keys;
  const certificate = await X509CertificateGenerator.create({
    serialNumber: serialNumber(),
    subject,
    issuer: request.issuer?.certificate.subjectName ?? subject,
    notBefore: made,
    notAfter: new Date(made.getTime() + days * DAY_MS),
    publicKey: keys.publicKey,
    signingKey: issuerKeys.privateKey,
    signingAlgorithm: { name: issuerKeys.privateKey.algorithm.name, hash: "SHA-256" },
    extensions: [
      ...extensions,
      await SubjectKeyIdentifierExtension.create(keys.publicKey),
      await AuthorityKeyIdentifierExtension.create(issuerKeys.publicKey),
    ],
  });
  return { name, keys, certificate };
}

async function makeKeys(kind: KeyKind): Promise<webcrypto.CryptoKeyPair> {
  const algorithm =
    kind === "ecdsa"
      ? { name: "ECDSA", namedCurve: "P-256" }
      : {
          name: "RSASSA-PKCS1-v1_5",
          modulusLength: 2048,
          publicExponent: new Uint8Array([1, 0, 1]),
          hash: "SHA-256",
        };
  return webcrypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
}

function mayIssue(): Extension {
  return new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true);
}

function names(list: JsonGeneralNames): Extension {
  return new SubjectAlternativeNameExtension(list);
}

/** RFC 5280, 4.1.2.2: positive, so the first bit is clear; and not zero. */
function serialNumber(): string {
  const bytes = randomBytes(16);
  bytes.writeUInt8((bytes.readUInt8(0) & 0x3f) | 0x40, 0);
  return bytes.toString("hex");
}

const DAY_MS = 24 * 60 * 60 * 1000;
const ROOT_DAYS = 1024;
const LEAF_DAYS = 500;
