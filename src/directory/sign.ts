import { createPrivateKey, createPublicKey, type KeyObject } from "node:crypto";
import { Fault } from "../core/fault.ts";
import { readPem } from "../net/pem.ts";
import type { JsonObject } from "../wire/json.ts";
import { structuredHash } from "../wire/structured-hash.ts";
import { openTrust, type Trust } from "./certificates.ts";
import { digestOf } from "./chain.ts";
import { signDigest, verifyDigest } from "./ecdsa.ts";
import {
  ChangeRecord,
  normalise,
  refuseUnportable,
  type Signature,
  SignedData,
  type SignedRecord,
} from "./record.ts";
import type { SignerCertificate } from "./x509.ts";

export type SignerSettings = {
  name: string;
  certificate_file: string;
  key_file: string;
  ca_certificate_file: string;
  ca_intermediate_certificate_files: readonly string[];
};

/** Signs with the key of one operator, whose certificate everybody can check. */
export class Signer {
  readonly #certificate: SignerCertificate;
  readonly #key: KeyObject;

  constructor(certificate: SignerCertificate, key: KeyObject) {
    this.#certificate = certificate;
    this.#key = key;
  }

  /** Brings a record into its normal form and signs it behind its parent; "" begins a directory. */
  sign(value: unknown, parentHash: string): SignedRecord {
    const record = normalise(ChangeRecord, value, "the record");
    refuseUnportable(record, "the record");
    const hash = structuredHash(record).toString("hex");
    const signature = this.#signature(digestOf({ hash, parent_hash: parentHash, record }));
    return { parent_hash: parentHash, hash, signature, record };
  }

  /** Signs any object (eps-protocol 8.9). */
  signData(data: JsonObject): SignedData {
    refuseUnportable(data, "the data");
    return { signature: this.#signature(structuredHash(data)), data };
  }

  #signature(digest: Buffer): Signature {
    const { r, s } = signDigest(this.#key, digest);
    return { r: String(r), s: String(s), c: this.#certificate.pem };
  }
}

/** Reads certificate and key, and refuses a pair whose signatures nobody would accept. */
export async function openSigner(settings: SignerSettings): Promise<Signer> {
  const { name, certificate_file, key_file } = settings;
  const trust = await openTrust(
    [settings.ca_certificate_file],
    settings.ca_intermediate_certificate_files,
  );
  const certificate = await using(certificate_file, (pem) => trust.signer(pem));
  const key = await using(key_file, async (pem) => readKey(pem));
  if (!createPublicKey(key).equals(certificate.key)) {
    throw new Fault("settings", `the key in ${key_file} is not that of ${certificate_file}`);
  }
  if (!certificate.dns_names.includes(name)) {
    const names = certificate.dns_names.join(", ") || "none";
    throw new Fault(
      "settings",
      `the certificate in ${certificate_file} is not for ${name}: its DNS names are ${names}`,
    );
  }
  return new Signer(certificate, key);
}

/** The data, if the operator `name` signed it with a certificate that is trusted now. */
export async function verifyData(value: unknown, name: string, trust: Trust): Promise<JsonObject> {
  const { signature, data } = normalise(SignedData, value, "the signed data");
  const signer = await trust.signer(signature.c);
  if (signer.name !== name) {
    throw new Fault("forbidden", `the data is signed by ${signer.name}, not by ${name}`);
  }
  const numbers = { r: BigInt(signature.r), s: BigInt(signature.s) };
  if (verifyDigest(signer.key, structuredHash(data), numbers)) return data;
  throw new Fault("malformed", `the signature is not ${name}'s for this data`);
}

async function using<T>(file: string, read: (text: string) => Promise<T>): Promise<T> {
  const pem = await readPem(file);
  try {
    return await read(pem);
  } catch (cause) {
    throw new Fault("settings", `${file} cannot be used for signing`, { cause });
  }
}

/** SEC1 or PKCS#8; `openssl ecparam -genkey` writes a block of parameters before it. */
function readKey(pem: string): KeyObject {
  const [block] =
    /-----BEGIN (?:EC |ENCRYPTED )?PRIVATE KEY-----[^-]+-----END [A-Z ]+-----/.exec(pem) ?? [];
  if (!block)
    throw new Fault("malformed", "there is no private key in it, neither SEC1 nor PKCS#8");
  if (/ENCRYPTED/.test(block)) throw new Fault("malformed", "the private key is encrypted");
  return createPrivateKey(block);
}
