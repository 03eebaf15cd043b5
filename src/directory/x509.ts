import { createHash, type KeyObject, X509Certificate } from "node:crypto";
import { type AltName, Certificate as Parsed } from "pkijs";
import { Fault } from "../core/fault.ts";
import { CURVE } from "./ecdsa.ts";

/** What a certificate says. Whether to believe it is decided in `certificates.ts`. */
export type Certificate = {
  /** Leaf only, 64 columns, with a newline at its end: the form in which records carry it. */
  readonly pem: string;
  /** Lowercase hex of the SHA-256 of the DER, as the directory pins it. */
  readonly fingerprint: string;
  /** For people: the subject of the certificate. */
  readonly subject: string;
  readonly parsed: Parsed;
  readonly key: KeyObject;
  readonly not_before: Date;
  readonly not_after: Date;
};

/** A certificate of somebody who signs. */
export type SignerCertificate = Certificate & {
  readonly name: string;
  readonly groups: ReadonlySet<string>;
  readonly dns_names: readonly string[];
};

const PEM_BLOCK = /-----BEGIN ([A-Z0-9 ]+)-----([\sA-Za-z0-9+/=]*)-----END \1-----/;

/** Reads the first PEM block and nothing behind it. Whatever is wrong with it is a `malformed` fault. */
export function parseCertificate(pem: string): Certificate {
  const [, label, body = ""] = PEM_BLOCK.exec(pem) ?? [];
  if (label === undefined) throw new Fault("malformed", "it is not a PEM block");
  if (label !== "CERTIFICATE") throw new Fault("malformed", `it is a ${label}, not a CERTIFICATE`);
  const der = Buffer.from(body, "base64");
  try {
    const parsed = Parsed.fromBER(der);
    const { raw, publicKey, subject } = new X509Certificate(der);
    if (!raw.equals(der)) throw new Error("there are bytes behind the certificate");
    return {
      pem: toPem(der),
      fingerprint: createHash("sha256").update(der).digest("hex"),
      subject: subject.replaceAll("\n", ", "),
      parsed,
      key: publicKey,
      not_before: parsed.notBefore.value,
      not_after: parsed.notAfter.value,
    };
  } catch (cause) {
    throw new Fault("malformed", "its content is not an X.509 certificate", { cause });
  }
}

/** A certificate that can sign: ECDSA on P-256, made for signatures, with exactly one name. */
export function parseSigner(pem: string): SignerCertificate {
  const certificate = parseCertificate(pem);
  const { parsed, key, fingerprint } = certificate;
  const refuse = (why: string): Fault =>
    new Fault("malformed", `the certificate ${fingerprint} cannot sign: ${why}`);
  if (key.asymmetricKeyType !== "ec" || key.asymmetricKeyDetails?.namedCurve !== CURVE) {
    throw refuse("its key is not an ECDSA key on the curve P-256");
  }
  const usage = keyUsage(parsed);
  if (usage === undefined || !(usage & DIGITAL_SIGNATURE)) {
    throw refuse("its key usage lacks digitalSignature");
  }
  const alternatives = alternativeNames(parsed);
  const uris = alternatives.filter(({ type }) => type === URI).map(({ value }) => String(value));
  const [name, ...others] = uris.flatMap((uri) => hostOf(uri, "iris-name"));
  if (!name) throw refuse("it has no SAN URI iris-name://…");
  if (others.length > 0) throw refuse("it has more than one SAN URI iris-name://…");
  return {
    ...certificate,
    name,
    groups: new Set(uris.flatMap((uri) => hostOf(uri, "iris-group"))),
    dns_names: alternatives.filter(({ type }) => type === DNS).map(({ value }) => String(value)),
  };
}

/** The bits of the first byte, as X.509 writes them; undefined without the extension (RFC 5280, 4.2.1.3). */
export function keyUsage(certificate: Parsed): number | undefined {
  const bits = extension(certificate, "2.5.29.15") as
    | { valueBlock?: { valueHexView?: Uint8Array } }
    | undefined;
  return bits && (bits.valueBlock?.valueHexView?.[0] ?? 0);
}

const DIGITAL_SIGNATURE = 0x80;
export const KEY_CERT_SIGN = 0x04;

/** What pkijs made of an extension; it has its own class for each kind. */
export function extension(certificate: Parsed, oid: string): unknown {
  return certificate.extensions?.find(({ extnID }) => extnID === oid)?.parsedValue;
}

const DNS = 2;
const URI = 6;

function alternativeNames(certificate: Parsed): AltName["altNames"] {
  return (extension(certificate, "2.5.29.17") as AltName | undefined)?.altNames ?? [];
}

/** The host of `scheme://host/…`, case kept, which `URL` would not promise for all schemes. */
function hostOf(uri: string, scheme: string): string[] {
  const [, found, host] = /^([a-z-]+):\/\/([^/?#@]+)(?:[/?#]|$)/i.exec(uri) ?? [];
  return found?.toLowerCase() === scheme && host ? [host] : [];
}

function toPem(der: Buffer): string {
  const lines = der.toString("base64").replace(/.{1,64}/g, "$&\n");
  return `-----BEGIN CERTIFICATE-----\n${lines}-----END CERTIFICATE-----\n`;
}
