import { randomBytes } from "node:crypto";
import * as z from "zod";
import { Fault } from "../../core/fault.ts";
import type { Log } from "../../core/log.ts";
import { type Metrics, watch } from "../../core/metrics.ts";
import type { Store } from "../../store/store.ts";
import { instant } from "../../wire/timestamp.ts";

/** "Send this domain to me until then." */
export type Announcement = {
  /** As it was announced: originals know it again only by the same letters. We do whatever their case. */
  readonly domain: string;
  /** A public proxy keeps who announced it (an operator), a private one where it did (a proxy). */
  readonly party: string;
  /** RFC 3339, or null for no end. */
  readonly expires_at: string | null;
};

/** How a proxy of one kind writes its announcements down (eps-protocol 7.7). */
export const PUBLIC = { type: 1, party: "operator" } as const;
export const PRIVATE = { type: 2, party: "proxy" } as const;
type Kind = typeof PUBLIC | typeof PRIVATE;

const ID_SIZE = 16;
const ANNOUNCEMENTS_MAX = 10_000;

/**
 * The announcements of a proxy: in memory, and in a store that outlives it. A public proxy gives a
 * domain to one operator at a time; once that announcement has expired the domain is free again.
 */
export class Announcements {
  readonly #kind: Kind;
  readonly #store: Store;
  readonly #all = new Map<string, Announcement>();
  #turn: Promise<unknown> = Promise.resolve();

  private constructor(kind: Kind, store: Store) {
    this.#kind = kind;
    this.#store = store;
  }

  static async open(kind: Kind, store: Store, { log }: { log: Log }): Promise<Announcements> {
    const announcements = new Announcements(kind, store);
    for (const { type, data } of await store.read()) {
      if (type !== kind.type) {
        const message = `the datastore holds entries of another role (type ${type}); give each role its own`;
        throw new Fault("settings", message);
      }
      const announcement = announcements.#parse(data);
      if (announcement) announcements.#remember(announcement);
      else log.warn("a stored announcement cannot be read and is left out");
    }
    return announcements;
  }

  /** Those in force, oldest first. */
  list(): Announcement[] {
    return [...this.#all.values()].filter(inForce);
  }

  /** Who gets this domain now. */
  find(domain: string): Announcement | undefined {
    return this.list().find((each) => isSame(each.domain, domain));
  }

  /**
   * Takes an announcement, or changes until when it is in force; a time that has passed takes it back.
   * True if anything changed. Throws `conflict` when somebody else has the domain.
   */
  announce(wish: Announcement): Promise<boolean> {
    const mine = this.#turn.then(() => this.#announce(wish));
    this.#turn = mine.catch(() => {});
    return mine;
  }

  async #announce(wish: Announcement): Promise<boolean> {
    const holder = this.find(wish.domain);
    if (this.#kind === PUBLIC && holder && holder.party !== wish.party) {
      throw new Fault("conflict", "already taken");
    }
    const known = this.#all.get(this.#key(wish));
    if (known?.domain === wish.domain && known.expires_at === wish.expires_at) return false;
    if (!known && !inForce(wish)) return false;
    if (!known && this.#all.size >= ANNOUNCEMENTS_MAX) {
      throw new Fault("overloaded", `there are ${ANNOUNCEMENTS_MAX} announcements already`);
    }
    const { domain, party, expires_at } = wish;
    const stored = { expires_at, [this.#kind.party]: party, domain };
    const data = Buffer.from(JSON.stringify(stored));
    await this.#store.append([{ type: this.#kind.type, id: randomBytes(ID_SIZE), data }]);
    this.#remember(wish);
    return true;
  }

  /** Later ones follow; an expired one makes room as soon as somebody looks. */
  #remember(announcement: Announcement): void {
    const key = this.#key(announcement);
    if (inForce(announcement)) this.#all.set(key, announcement);
    else this.#all.delete(key);
    for (const [other, each] of this.#all) if (!inForce(each)) this.#all.delete(other);
  }

  #key({ domain, party }: Announcement): string {
    return `${domain.toLowerCase()} ${party}`;
  }

  #parse(data: Buffer): Announcement | undefined {
    try {
      const {
        [this.#kind.party]: party,
        domain,
        expires_at,
      } = Stored.parse(JSON.parse(data.toString("utf8")));
      return party ? { domain, party, expires_at } : undefined;
    } catch {
      return undefined;
    }
  }
}

/** Lets the number of announcements in force be seen. */
export function watchAnnouncements(metrics: Metrics, announcements: Announcements): void {
  const help = "Domains that are announced and whose announcement has not expired";
  watch(metrics, "eps_broker_announcements", help, () => announcements.list().length);
}

const Stored = z.object({
  domain: z.string(),
  expires_at: z.string().nullable(),
  operator: z.string().optional(),
  proxy: z.string().optional(),
});

/** Names of servers have no case (RFC 4343). */
export function isSame(domain: string, other: string): boolean {
  return domain.toLowerCase() === other.toLowerCase();
}

function inForce({ expires_at }: Announcement): boolean {
  return expires_at === null || instant(expires_at) > BigInt(Date.now()) * 1_000_000n;
}
