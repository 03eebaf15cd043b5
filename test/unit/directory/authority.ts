import "reflect-metadata";
import { createPrivateKey, type KeyObject, webcrypto } from "node:crypto";
import * as x509 from "@peculiar/x509";
import { Trust } from "../../../src/directory/certificates.ts";
import type { SignedRecord } from "../../../src/directory/record.ts";
import { Signer } from "../../../src/directory/sign.ts";
import { parseCertificate, parseSigner } from "../../../src/directory/x509.ts";
import { now } from "../../../src/wire/timestamp.ts";

x509.cryptoProvider.set(webcrypto as never);

const P256 = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
const RSA = {
  name: "RSASSA-PKCS1-v1_5",
  modulusLength: 2048,
  publicExponent: new Uint8Array([1, 0, 1]),
  hash: "SHA-256",
};
const DAY_MS = 86_400_000;

/** A certificate with its key, which can issue others whether it may or not. */
export type Holder = {
  pem: string;
  certificate: x509.X509Certificate;
  keys: webcrypto.CryptoKeyPair;
  key: KeyObject;
};

export type Wish = {
  name: string;
  issuer?: Holder;
  /** Days from now. */
  from?: number;
  until?: number;
  rsa?: boolean;
  curve?: "P-384";
  extensions?: x509.Extension[];
};

let serial = 0;

export async function issue({
  name,
  issuer,
  from = -1,
  until = 30,
  rsa,
  curve,
  extensions,
}: Wish): Promise<Holder> {
  const algorithm = rsa ? RSA : { ...P256, namedCurve: curve ?? P256.namedCurve };
  const keys = (await webcrypto.subtle.generateKey(algorithm, true, [
    "sign",
    "verify",
  ])) as webcrypto.CryptoKeyPair;
  serial += 1;
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: (0x10000000 + serial).toString(16),
    subject: `CN=${name}`,
    issuer: issuer?.certificate.subject ?? `CN=${name}`,
    notBefore: new Date(Date.now() + from * DAY_MS),
    notAfter: new Date(Date.now() + until * DAY_MS),
    signingKey: issuer?.keys.privateKey ?? keys.privateKey,
    signingAlgorithm: issuer
      ? ({ ...(issuer.keys.privateKey.algorithm as object), ...P256_HASH } as never)
      : (algorithm as never),
    publicKey: keys.publicKey,
    extensions: extensions ?? [],
  });
  const pkcs8 = await webcrypto.subtle.exportKey("pkcs8", keys.privateKey);
  const key = createPrivateKey({ key: Buffer.from(pkcs8), format: "der", type: "pkcs8" });
  return { pem: `${certificate.toString("pem")}\n`, certificate, keys, key };
}

const P256_HASH = { hash: "SHA-256" };

export const { digitalSignature, keyCertSign, cRLSign } = x509.KeyUsageFlags;
export const usage = (flags: number) => new x509.KeyUsagesExtension(flags, true);
export const authority = (pathLength?: number) =>
  new x509.BasicConstraintsExtension(true, pathLength, true);
export const purposes = (...oids: string[]) => new x509.ExtendedKeyUsageExtension(oids);
export const names = (name: string, ...groups: string[]) =>
  new x509.SubjectAlternativeNameExtension([
    { type: "url", value: `iris-name://${name}` },
    ...groups.map((group) => ({ type: "url" as const, value: `iris-group://${group}` })),
    { type: "dns", value: name },
  ]);

export const uris = (...values: string[]) =>
  new x509.SubjectAlternativeNameExtension(values.map((value) => ({ type: "url", value })));

export const issueRoot = (name = "root", wish: Partial<Wish> = {}): Promise<Holder> =>
  issue({ name, extensions: [authority(), usage(keyCertSign | cRLSign)], ...wish });

export const issueSigner = (
  name: string,
  issuer: Holder,
  wish: Partial<Wish> = {},
): Promise<Holder> =>
  issue({ name, issuer, extensions: [usage(digitalSignature), names(name, "sd-admin")], ...wish });

export function trusting(roots: Holder[], intermediates: Holder[] = []): Trust {
  const parse = ({ pem }: Holder) => parseCertificate(pem);
  return new Trust(roots.map(parse), intermediates.map(parse));
}

/** Reading a certificate takes longer than signing, so it is read once. */
const signers = new WeakMap<Holder, Signer>();
export function signerOf(holder: Holder): Signer {
  const signer = signers.get(holder) ?? new Signer(parseSigner(holder.pem), holder.key);
  signers.set(holder, signer);
  return signer;
}

/** Signs one record after the other, each behind the one before. */
export class Pen {
  parent = "";
  #time: string | undefined;

  constructor(parent?: SignedRecord) {
    this.parent = parent?.hash ?? "";
    this.#time = parent?.record.created_at;
  }

  write(
    holder: Holder,
    name: string,
    section: string,
    data: unknown[],
    created_at?: string,
  ): SignedRecord {
    this.#time = created_at ?? now(this.#time);
    const record = signerOf(holder).sign(
      { name, section, data, created_at: this.#time },
      this.parent,
    );
    this.parent = record.hash;
    return record;
  }

  /** Pins a holder's certificate for signing. */
  pin(holder: Holder, name: string, pinned: Holder = holder): SignedRecord {
    const { fingerprint } = parseCertificate(pinned.pem);
    return this.write(holder, name, "certificates", [{ fingerprint, key_usage: "signing" }]);
  }
}
