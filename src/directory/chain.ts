import { promisify } from "node:util";
import { Fault } from "../core/fault.ts";
import { structuredHash } from "../wire/structured-hash.ts";
import type { Trust } from "./certificates.ts";
import { verifyDigest } from "./ecdsa.ts";
import type { Entry } from "./entry.ts";
import { fold } from "./fold.ts";
import type { SignedRecord } from "./record.ts";

/** A signature takes about a millisecond to verify; a server that reads thousands goes on serving. */
const IN_ONE_GO = 10;
const others = promisify(setImmediate);

/** The only group whose members may sign records, of whatever section (eps-protocol 8.5). */
const ADMINISTRATORS = "sd-admin";

type Skip = (record: SignedRecord, fault: Fault) => void;

/**
 * Records that were verified one after the other, and what they add up to.
 *
 * A chain never changes: appending gives a new one, and what was verified is not verified again.
 * Which record may follow which is for the owner to say; the signature covers the parent's hash, so
 * a link cannot be forged, but links can be left out.
 */
export class Chain {
  readonly records: readonly SignedRecord[];
  readonly entries: ReadonlyMap<string, Entry>;
  readonly #trust: Trust;
  /** Operator → the certificate it signs with. A later record without one does not unpin it. */
  readonly #pins: ReadonlyMap<string, string>;

  private constructor(
    trust: Trust,
    records: readonly SignedRecord[],
    pins: ReadonlyMap<string, string>,
    entries: ReadonlyMap<string, Entry>,
  ) {
    this.#trust = trust;
    this.records = records;
    this.#pins = pins;
    this.entries = entries;
  }

  static empty(trust: Trust): Chain {
    return new Chain(trust, [], new Map(), new Map());
  }

  get tip(): SignedRecord | undefined {
    return this.records.at(-1);
  }

  append(record: SignedRecord): Promise<Chain> {
    return this.extend([record]);
  }

  /**
   * Appends all records or none: the first that breaks a rule is thrown as a fault, unless `skip`
   * takes it and the chain goes on without it. Faults count the records from `first`.
   */
  async extend(
    records: readonly SignedRecord[],
    { first = 1, skip }: { first?: number; skip?: Skip } = {},
  ): Promise<Chain> {
    const pins = new Map(this.#pins);
    const accepted: SignedRecord[] = [];
    for (const [index, record] of records.entries()) {
      if (index % IN_ONE_GO === IN_ONE_GO - 1) await others();
      try {
        await verify(record, pins, this.#trust, nameOf(record, first + index));
        accepted.push(record);
        pin(pins, record);
      } catch (reason) {
        const fault = Fault.from(reason);
        if (!skip) throw fault;
        skip(record, fault);
      }
    }
    if (accepted.length === 0) return this;
    const all = [...this.records, ...accepted];
    return new Chain(this.#trust, all, pins, fold(this.entries, accepted));
  }

  /** Throws the fault that `append` would, and appends nothing. */
  async check(record: SignedRecord, position: number): Promise<void> {
    await verify(record, this.#pins, this.#trust, nameOf(record, position));
  }
}

/** How faults call a record. */
export function nameOf({ record }: SignedRecord, position: number): string {
  return `record ${position} (${record.section} of ${record.name})`;
}

/** What a signer signs: the record and its place. A root has no parent, and then "" counts for nothing. */
export function digestOf({ hash, parent_hash, record }: Omit<SignedRecord, "signature">): Buffer {
  return structuredHash({ hash, parent_hash, record });
}

/** The rules of eps-protocol 8.5, in its order. */
async function verify(
  signed: SignedRecord,
  pins: ReadonlyMap<string, string>,
  trust: Trust,
  what: string,
): Promise<void> {
  if (structuredHash(signed.record).toString("hex") !== signed.hash) {
    throw new Fault(
      "malformed",
      `${what}: its hash does not match its content; it was changed after it was signed, or signed with keys that records do not have`,
    );
  }
  const signer = await trust.signer(signed.signature.c).catch((reason: unknown) => {
    const fault = Fault.from(reason);
    throw new Fault(fault.fault, `${what}: its signer's certificate: ${fault.message}`, {
      cause: fault,
    });
  });
  if (!signer.groups.has(ADMINISTRATORS)) {
    throw new Fault(
      "forbidden",
      `${what}: its signer ${signer.name} is not in the group ${ADMINISTRATORS}; sign with a certificate that has the SAN URI iris-group://${ADMINISTRATORS}`,
    );
  }
  const pinned = pins.get(signer.name);
  if (pinned !== undefined && pinned !== signer.fingerprint) {
    throw new Fault(
      "forbidden",
      `${what}: the signer's certificate ${signer.fingerprint} is not the one the directory pins for ${signer.name}, ${pinned}; sign with the pinned one, or let an administrator whose key is valid pin the other first`,
    );
  }
  const { r, s } = signed.signature;
  const numbers = { r: BigInt(r), s: BigInt(s) };
  if (!verifyDigest(signer.key, digestOf(signed), numbers)) {
    throw new Fault(
      "malformed",
      `${what}: the signature is not ${signer.name}'s for this record behind ${signed.parent_hash || "no parent"}; it is forged or was moved from another place`,
    );
  }
}

/** Of several signing certificates in one record the last one counts. */
function pin(pins: Map<string, string>, { record }: SignedRecord): void {
  if (record.section !== "certificates") return;
  const last = record.data.findLast(({ key_usage }) => key_usage === "signing");
  if (last) pins.set(record.name, last.fingerprint);
}
