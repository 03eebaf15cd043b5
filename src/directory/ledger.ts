import { explain, Fault } from "../core/fault.ts";
import { instant } from "../wire/timestamp.ts";
import type { Trust } from "./certificates.ts";
import { Chain, nameOf } from "./chain.ts";
import type { Entry } from "./entry.ts";
import { normalise, refuseUnportable, SignedRecord } from "./record.ts";

/**
 * A directory server's view of its records: the best chain of all that it has stored.
 *
 * A ledger never changes. `propose` gives the one that would be, so that the owner can store the
 * records first and make the new ledger the present one afterwards.
 */
export class Ledger {
  readonly #trust: Trust;
  readonly #chain: Chain;
  /** Every stored hash, in the chain or not: a second record with one of them would break the chain. */
  readonly #known: ReadonlySet<string>;

  private constructor(trust: Trust, chain: Chain, known: ReadonlySet<string>) {
    this.#trust = trust;
    this.#chain = chain;
    this.#known = known;
  }

  /** Reads a store. `onSkipped` hears, in words, of each record that breaks a rule and is left out. */
  static async open(
    trust: Trust,
    stored: readonly unknown[],
    onSkipped: (reason: string) => void = () => {},
  ): Promise<Ledger> {
    const shelf = shelve(stored, onSkipped);
    const { chain, invalid } = await bestOf(pathsOf(shelf), trust);
    for (const { record, fault } of invalid) {
      onSkipped(`stored record ${(shelf.get(record.hash)?.index ?? 0) + 1}: ${fault.message}`);
    }
    return new Ledger(trust, chain, new Set(shelf.keys()));
  }

  get records(): readonly SignedRecord[] {
    return this.#chain.records;
  }

  get tip(): SignedRecord | null {
    return this.#chain.tip ?? null;
  }

  entries(): Entry[] {
    return [...this.#chain.entries.values()];
  }

  entry(name: string): Entry | undefined {
    return this.#chain.entries.get(name);
  }

  /** The records behind the one with this hash; all of them if there is none. */
  after(hash: string): readonly SignedRecord[] {
    const index = this.records.findLastIndex((each) => each.hash === hash);
    return this.records.slice(index + 1);
  }

  /**
   * The ledger with these records at its end, or a fault and nothing.
   *
   * A record without a parent begins the directory anew: it must be younger than the present root,
   * and signed as if it were appended, so that a reset takes a pinned key (eps-protocol 8.7).
   */
  async propose(batch: readonly SignedRecord[]): Promise<Ledger> {
    this.#refuseDisorder(batch);
    let chain = this.#chain;
    for (const { first, records } of runsOf(batch)) {
      const [root] = records;
      if (root?.parent_hash === "") {
        await this.#refuseReset(root, chain, first);
        chain = Chain.empty(this.#trust);
      }
      chain = await chain.extend(records, { first });
    }
    return new Ledger(
      this.#trust,
      chain,
      new Set([...this.#known, ...batch.map(({ hash }) => hash)]),
    );
  }

  /** Everything that can be refused without looking at a signature. */
  #refuseDisorder(batch: readonly SignedRecord[]): void {
    const hashes = new Set<string>();
    let tip = this.tip?.hash ?? "";
    for (const [index, each] of batch.entries()) {
      const what = nameOf(each, index + 1);
      if (this.#known.has(each.hash) || hashes.has(each.hash)) {
        throw new Fault(
          "conflict",
          `${what} is already there; to say the same again give it a later created_at`,
        );
      }
      if (each.parent_hash !== "" && each.parent_hash !== tip) {
        throw new Fault(
          "conflict",
          `${what} follows ${each.parent_hash}, but the last record is ${tip || "none yet"}; sign it again behind that one`,
          { detail: { tip: this.tip?.hash ?? "" } },
        );
      }
      refuseUnportable(each.record, what);
      hashes.add(each.hash);
      tip = each.hash;
    }
  }

  async #refuseReset(root: SignedRecord, chain: Chain, position: number): Promise<void> {
    const [present] = chain.records;
    if (!present) return;
    const what = nameOf(root, position);
    if (instant(root.record.created_at) <= instant(present.record.created_at)) {
      throw new Fault(
        "conflict",
        `${what} would begin a new directory, but its created_at is not later than that of the present root, ${present.record.created_at}; a record that should be appended needs a parent_hash`,
        { detail: { tip: this.tip?.hash ?? "" } },
      );
    }
    await chain.check(root, position);
  }
}

type Run = { first: number; records: SignedRecord[] };

/** A batch in pieces, each of which begins where the directory begins anew. */
function runsOf(batch: readonly SignedRecord[]): Run[] {
  const runs: Run[] = [];
  for (const [index, record] of batch.entries()) {
    const run = runs.at(-1);
    if (run && record.parent_hash !== "") run.records.push(record);
    else runs.push({ first: index + 1, records: [record] });
  }
  return runs;
}

type Shelf = Map<string, { index: number; record: SignedRecord }>;

/** Stored records by their hash, in the order of the store. */
function shelve(stored: readonly unknown[], onSkipped: (reason: string) => void): Shelf {
  const shelf: Shelf = new Map();
  for (const [index, value] of stored.entries()) {
    const what = `stored record ${index + 1}`;
    try {
      const record = normalise(SignedRecord, value, what);
      if (shelf.has(record.hash)) onSkipped(`${what} has the hash of an earlier one`);
      else shelf.set(record.hash, { index, record });
    } catch (reason) {
      onSkipped(explain(reason));
    }
  }
  return shelf;
}

/**
 * Every way from a root to a last record, first children first. A record whose parent is not there
 * is a root too (eps-protocol 8.6). Records that lead to each other in a circle have no root and
 * are never reached.
 */
function* pathsOf(shelf: Shelf): Generator<SignedRecord[]> {
  const children = new Map<string, SignedRecord[]>();
  const roots: SignedRecord[] = [];
  for (const { record } of shelf.values()) {
    const siblings = shelf.has(record.parent_hash) ? children.get(record.parent_hash) : roots;
    if (siblings) siblings.push(record);
    else children.set(record.parent_hash, [record]);
  }
  const open = roots.reverse().map((root) => [root]);
  for (let path = open.pop(); path; path = open.pop()) {
    for (;;) {
      const [next, ...later] = children.get(path.at(-1)?.hash ?? "") ?? [];
      for (const fork of later.reverse()) open.push([...path, fork]);
      if (!next) break;
      path.push(next);
    }
    yield path;
  }
}

type Invalid = { record: SignedRecord; fault: Fault };

/** The first chain, unless a later one has a younger root. A fork of the best chain never has. */
async function bestOf(
  paths: Iterable<SignedRecord[]>,
  trust: Trust,
): Promise<{ chain: Chain; invalid: Invalid[] }> {
  let best = { chain: Chain.empty(trust), invalid: [] as Invalid[] };
  for (const path of paths) {
    const [root] = best.chain.records;
    if (root && root === path[0]) continue;
    const invalid: Invalid[] = [];
    const skip = (record: SignedRecord, fault: Fault) => invalid.push({ record, fault });
    const chain = await Chain.empty(trust).extend(path, { skip });
    const [begin] = chain.records;
    if (!begin) best.invalid.push(...(root ? [] : invalid));
    else if (!root || instant(begin.record.created_at) > instant(root.record.created_at)) {
      best = { chain, invalid };
    }
  }
  return best;
}
