import {
  type BasicConstraints,
  CertificateChainValidationEngine,
  type ExtKeyUsage,
  type Certificate as Parsed,
} from "pkijs";
import { Fault } from "../core/fault.ts";
import { readPem } from "../net/pem.ts";
import { LIMITS } from "./limits.ts";
import {
  type Certificate,
  extension,
  KEY_CERT_SIGN,
  keyUsage,
  parseCertificate,
  parseSigner,
  type SignerCertificate,
} from "./x509.ts";

/**
 * Whose signatures count: those of certificates that lead to one of these roots, now
 * (eps-protocol 8.5).
 *
 * pkijs finds the path and checks its signatures. It does not enforce path lengths nor purposes, and
 * it can be led to check another certificate than the one meant, so all of that is checked here.
 */
export class Trust {
  readonly #roots: readonly Certificate[];
  readonly #intermediates: readonly Certificate[];
  /** By PEM text: a directory has many records and few signers. Failures are not kept. */
  readonly #verified = new Map<string, { signer: SignerCertificate; until: Date }>();

  constructor(roots: readonly Certificate[], intermediates: readonly Certificate[]) {
    this.#roots = roots;
    this.#intermediates = intermediates;
  }

  /** The signer whose certificate this is, or a fault that says why it cannot be trusted. */
  async signer(pem: string): Promise<SignerCertificate> {
    const now = new Date();
    const known = this.#verified.get(pem);
    if (known && now <= known.until) return known.signer;
    const signer = parseSigner(pem);
    const until = await this.#verify(signer, now);
    const [oldest] = this.#verified.keys();
    if (oldest !== undefined && this.#verified.size >= LIMITS.signers_max) {
      this.#verified.delete(oldest);
    }
    this.#verified.set(pem, { signer, until });
    return signer;
  }

  /** Until when the path holds. */
  async #verify(signer: SignerCertificate, now: Date): Promise<Date> {
    const whose = `the certificate of ${signer.name} (${signer.fingerprint})`;
    refuseOutdated(signer, whose, now);
    const path = await this.#pathOf(signer, whose, now);
    const problem = problemOf(path);
    if (problem) throw new Fault("forbidden", `${whose} is not trusted: ${problem}`);
    return new Date(Math.min(...path.map(({ notAfter }) => notAfter.value.getTime())));
  }

  /** From the signer to a root. */
  async #pathOf(signer: SignerCertificate, whose: string, now: Date): Promise<Parsed[]> {
    // pkijs tries one path only; without those out of date it cannot choose a renewed one's old form.
    const current = (all: readonly Certificate[]): Parsed[] =>
      all
        .filter((each) => now >= each.not_before && now <= each.not_after)
        .map((each) => each.parsed);
    const engine = new CertificateChainValidationEngine({
      trustedCerts: current(this.#roots),
      certs: [...current(this.#intermediates), signer.parsed],
      checkDate: now,
    });
    const { result, resultMessage, certificatePath = [] } = await engine.verify();
    if (!result) {
      throw new Fault(
        "forbidden",
        `${whose} is not trusted: ${resultMessage}${this.#outdated(now)}`,
      );
    }
    // pkijs drops doubles from its list and then takes whichever came last for the leaf.
    if (certificatePath[0] !== signer.parsed) {
      throw new Fault("forbidden", `${whose} is not trusted: it is a root or intermediate itself`);
    }
    return certificatePath;
  }

  #outdated(now: Date): string {
    const all = [...this.#roots, ...this.#intermediates].filter(({ not_after }) => now > not_after);
    if (all.length === 0) return "";
    const told = all.map(({ subject, not_after }) => `${subject} on ${day(not_after)}`);
    return ` (of the configured certificates, these expired: ${told.join("; ")})`;
  }
}

/** Reads one certificate, the first PEM block, from each file. */
export async function openTrust(
  rootFiles: readonly string[],
  intermediateFiles: readonly string[],
): Promise<Trust> {
  const [roots, intermediates] = await Promise.all([
    Promise.all(rootFiles.map(readCertificate)),
    Promise.all(intermediateFiles.map(readCertificate)),
  ]);
  return new Trust(roots, intermediates);
}

async function readCertificate(file: string): Promise<Certificate> {
  const pem = await readPem(file);
  try {
    return parseCertificate(pem);
  } catch (cause) {
    throw new Fault("settings", `the certificate file ${file} cannot be used`, { cause });
  }
}

function refuseOutdated({ not_before, not_after }: Certificate, whose: string, now: Date): void {
  if (now > not_after) throw new Fault("forbidden", `${whose} expired on ${day(not_after)}`);
  if (now < not_before)
    throw new Fault("forbidden", `${whose} is valid only from ${day(not_before)}`);
}

/** What is wrong with a path whose signatures, dates and names are right; nothing if it is good. */
function problemOf(path: Parsed[]): string | undefined {
  if (path.length > LIMITS.path_length_max) {
    return `there are more than ${LIMITS.path_length_max} certificates up to its root`;
  }
  for (const [index, certificate] of path.entries()) {
    const problem =
      (index > 0 ? authorityProblem(certificate, path.slice(1, index)) : undefined) ??
      purposeProblem(certificate);
    if (problem) return problem;
  }
  return undefined;
}

/** `below` are the authorities between this one and the signer. */
function authorityProblem(certificate: Parsed, below: Parsed[]): string | undefined {
  const constraints = extension(certificate, "2.5.29.19") as BasicConstraints | undefined;
  if (constraints?.cA !== true) return "an issuer in its chain is not a certificate authority";
  const usage = keyUsage(certificate);
  if (usage !== undefined && !(usage & KEY_CERT_SIGN)) {
    return "the key usage of an issuer in its chain lacks keyCertSign";
  }
  // RFC 5280, 4.2.1.9: self-issued certificates do not count.
  const counted = below.filter(({ subject, issuer }) => !subject.isEqual(issuer)).length;
  const { pathLenConstraint } = constraints;
  if (pathLenConstraint === undefined) return undefined;
  return counted > Number(pathLenConstraint)
    ? "there are more authorities in its chain than one of them allows (pathLen)"
    : undefined;
}

/** Every certificate with purposes must have ours among them. */
function purposeProblem(certificate: Parsed): string | undefined {
  const strange = certificate.extensions?.find(
    ({ critical, parsedValue }) => critical && !parsedValue,
  );
  if (strange) return `its chain has an unknown critical extension, ${strange.extnID}`;
  const usage = extension(certificate, "2.5.29.37") as ExtKeyUsage | undefined;
  if (!usage || usage.keyPurposes?.some((each) => PURPOSES.has(each))) return undefined;
  return "the extended key usage of its chain does not allow codeSigning";
}

const PURPOSES = new Set(["1.3.6.1.5.5.7.3.3" /* codeSigning */, "2.5.29.37.0" /* any */]);

function day(date: Date): string {
  return date.toISOString().slice(0, "2026-01-01".length);
}
