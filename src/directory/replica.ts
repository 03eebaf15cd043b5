import * as z from "zod";
import { Fault } from "../core/fault.ts";
import { instant } from "../wire/timestamp.ts";
import type { Trust } from "./certificates.ts";
import { Chain, nameOf } from "./chain.ts";
import type { Entry } from "./entry.ts";
import { LIMITS } from "./limits.ts";
import { normalise, SignedRecord } from "./record.ts";

const Answer = z.array(z.unknown()).max(LIMITS.records_max).nullish();

/**
 * A client's copy of a directory, which believes signatures and not the server it reads from.
 *
 * The server can only hold back what is new. Records that it changes, drops, moves or takes back
 * are noticed, and the copy stays as it was.
 */
export class Replica {
  readonly #trust: Trust;
  readonly #onNewRoot: (root: SignedRecord, before: SignedRecord) => void;
  #chain: Chain;

  /** `onNewRoot` hears of every legitimate beginning anew. */
  constructor(
    trust: Trust,
    onNewRoot: (root: SignedRecord, before: SignedRecord) => void = () => {},
  ) {
    this.#trust = trust;
    this.#onNewRoot = onNewRoot;
    this.#chain = Chain.empty(trust);
  }

  /** What to ask the server for: the records after this hash. */
  get after(): string {
    return this.#chain.tip?.hash ?? "";
  }

  /** Verified, oldest first. */
  get records(): readonly SignedRecord[] {
    return this.#chain.records;
  }

  entry(name: string): Entry | undefined {
    return this.#chain.entries.get(name);
  }

  entries(): Entry[] {
    return [...this.#chain.entries.values()];
  }

  /** Another copy of the same records, which goes its own way from here. */
  copy(): Replica {
    const copy = new Replica(this.#trust);
    copy.#chain = this.#chain;
    return copy;
  }

  /** Takes the server's answer to "after", all of it or none. Tells whether anything is new. */
  async update(answer: unknown): Promise<boolean> {
    const before = this.#chain;
    const values = normalise(Answer, answer, "the directory server's answer") ?? [];
    const received = values.map((value, index) =>
      normalise(SignedRecord, value, `record ${index + 1} of the directory server's answer`),
    );
    const [first] = received;
    if (!first) return false;
    refuseGaps(received);
    const next = await this.#next(before, received, first);
    // Another answer was quicker: this one has to fit behind it.
    if (this.#chain !== before) return this.update(answer);
    this.#chain = next;
    const [root] = before.records;
    if (root && next.records[0] !== root) this.#onNewRoot(first, root);
    return next !== before;
  }

  async #next(before: Chain, received: SignedRecord[], first: SignedRecord): Promise<Chain> {
    if (first.parent_hash === this.after) return before.extend(received);
    const [root] = before.records;
    if (first.parent_hash !== "" || !root) throw strayed(before, first);
    if (first.hash === root.hash) return before.extend(unseen(before.records, received));
    if (instant(first.record.created_at) < instant(root.record.created_at)) {
      throw new Fault(
        "conflict",
        `the directory server rolled back: it offers a directory that began ${first.record.created_at}, before the present one of ${root.record.created_at}`,
      );
    }
    return Chain.empty(this.#trust).extend(received);
  }
}

/** Each record must follow the one before it; the original does not look. */
function refuseGaps(received: SignedRecord[]): void {
  const hashes = new Set(received.map(({ hash }) => hash));
  for (const [index, each] of received.slice(1).entries()) {
    if (each.parent_hash === received[index]?.hash) continue;
    const what = nameOf(each, index + 2);
    const did = hashes.has(each.parent_hash)
      ? "reordered records"
      : "dropped records, or skipped one that it found invalid";
    throw new Fault(
      "conflict",
      `the directory server ${did}: ${what} follows ${each.parent_hash || "nothing"}, not the record before it`,
    );
  }
}

/** The answer does not begin at our end. */
function strayed(before: Chain, first: SignedRecord): Fault {
  const index = before.records.findIndex(({ hash }) => hash === first.parent_hash);
  const did =
    index < 0
      ? "dropped records: its first one"
      : `went back to record ${index + 1} of ${before.records.length}: its first one`;
  return new Fault(
    "conflict",
    `the directory server ${did} follows ${first.parent_hash}, and we asked for those after ${before.tip?.hash ?? "none"}`,
  );
}

/** What is new in a complete answer, which is fair only if it contains all that we have. */
function unseen(known: readonly SignedRecord[], received: SignedRecord[]): SignedRecord[] {
  const fork = known.findIndex((each, index) => each.hash !== received[index]?.hash);
  if (fork < 0) return received.slice(known.length);
  const did =
    fork === received.length
      ? `rolled back to record ${fork} of ${known.length}`
      : `replaced record ${fork + 1} of ${known.length} by another`;
  throw new Fault("conflict", `the directory server ${did}, without beginning anew`);
}
