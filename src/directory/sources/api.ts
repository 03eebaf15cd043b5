import { setTimeout as sleep } from "node:timers/promises";
import { Backoff, orAbort } from "../../core/deadline.ts";
import { explain, Fault } from "../../core/fault.ts";
import type { Log } from "../../core/log.ts";
import type { Json } from "../../wire/json.ts";
import { openTrust } from "../certificates.ts";
import type { Directory } from "../directory.ts";
import type { Entry } from "../entry.ts";
import type { DirectoryEvents } from "../events.ts";
import { Replica } from "../replica.ts";
import { SdClient } from "../sd-client.ts";
import type { ApiDirectorySettings } from "../settings.ts";
import { compareViews, ViewWatch } from "../views.ts";

/** How long the directory server may hold an answer back until there is something new. */
const WAIT_MS = 25_000;
const ANSWER_MS = 10_000;
/** How often the endpoints are compared where there are several; also their time to catch up. */
const COMPARE_EVERY_MS = 15_000;

/**
 * A verified copy of a service directory, kept up to date in the background.
 *
 * Nobody who asks it ever waits for the network: answers come from memory, also while the server is
 * away. New records arrive as soon as they are submitted, because `getRecords` carries `wait_ms`; an
 * original server ignores that and answers at once, and is then asked every `cache_entries_for`.
 */
export async function openApiDirectory(
  settings: ApiDirectorySettings,
  {
    log,
    events,
    compare_every_ms = COMPARE_EVERY_MS,
  }: { log: Log; events?: DirectoryEvents; compare_every_ms?: number },
): Promise<Directory> {
  const trust = await openTrust(
    settings.ca_certificate_files,
    settings.ca_intermediate_certificate_files,
  );
  const client = await SdClient.open(settings, { log });
  const replica = new Replica(trust, (root) => {
    log.warn({ signed: root.record.created_at }, "the service directory began anew");
  });
  return new ApiDirectory({ ...settings, compare_every_ms }, { log, events, client, replica });
}

class ApiDirectory implements Directory {
  readonly #replica: Replica;
  readonly #client: SdClient;
  readonly #log: Log;
  readonly #events: DirectoryEvents | undefined;
  readonly #pause_ms: number;
  readonly #listeners = new Set<() => void>();
  readonly #stop = new AbortController();
  readonly #following: Promise<unknown>;
  #synced = false;
  #tellSynced = (): void => {};
  readonly #firstSync = new Promise<void>((resolve) => {
    this.#tellSynced = resolve;
  });

  constructor(
    settings: ApiDirectorySettings & { compare_every_ms: number },
    {
      log,
      events,
      client,
      replica,
    }: { log: Log; events?: DirectoryEvents | undefined; client: SdClient; replica: Replica },
  ) {
    this.#replica = replica;
    this.#client = client;
    this.#log = log;
    this.#events = events;
    this.#pause_ms = Math.max(1, settings.cache_entries_for) * 1_000;
    const { signal } = this.#stop;
    this.#following = Promise.all([
      this.#follow(signal),
      client.servers.length > 1 && this.#compare(settings.compare_every_ms, signal),
    ]);
  }

  entry(name: string): Entry | undefined {
    return this.#replica.entry(name);
  }

  entries(): Entry[] {
    return this.#replica.entries();
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async ready(signal: AbortSignal): Promise<void> {
    if (!this.#synced) await orAbort(this.#firstSync, signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#following;
    await this.#client[Symbol.asyncDispose]();
  }

  async #follow(stop: AbortSignal): Promise<void> {
    const backoff = new Backoff();
    let told: string | undefined; // why there is no news; another reason is news itself
    while (!stop.aborted) {
      try {
        const asked_at = Date.now();
        const changed = await this.#replica.update(await this.#ask(stop));
        this.#events?.read(this.entries());
        if (told) this.#log.info("the service directory answers again");
        told = undefined;
        backoff.reset();
        if (changed || !this.#synced) this.#tell();
        else if (Date.now() - asked_at < WAIT_MS / 2) {
          await sleep(this.#pause_ms, undefined, { signal: stop }); // a server that does not wait
        }
      } catch (reason) {
        if (stop.aborted) return;
        this.#events?.failed();
        const { fault } = Fault.from(reason);
        if (told !== fault) {
          const consequence = this.#synced ? "; going on with what is known" : "";
          this.#log.warn({ reason: explain(reason) }, `no news from the directory${consequence}`);
        }
        told = fault;
        await backoff.wait(stop).catch(() => {});
      }
    }
  }

  /** Warns, once for each change, of endpoints that do not show what the one that we follow shows. */
  async #compare(every_ms: number, stop: AbortSignal): Promise<void> {
    const watch = new ViewWatch();
    while (!stop.aborted) {
      await sleep(every_ms, undefined, { signal: stop }).catch(() => {});
      if (stop.aborted || !this.#synced) continue;
      const views = await compareViews(this.#client.servers, this.#replica, stop);
      for (const { endpoint, relation, ours, theirs, reason } of watch.news(views)) {
        const what =
          relation === "ahead"
            ? "another endpoint of the service directory has records that ours holds back"
            : "an endpoint of the service directory shows another directory";
        this.#log.warn({ endpoint, ours, theirs, reason }, what);
      }
    }
  }

  async #ask(stop: AbortSignal): Promise<Json> {
    const wait_ms = this.#synced ? WAIT_MS : 0;
    return await this.#client.call(
      "getRecords",
      { after: this.#replica.after, wait_ms },
      { signal: stop, timeout_ms: wait_ms + ANSWER_MS },
    );
  }

  #tell(): void {
    if (!this.#synced) this.#log.info({ operators: this.entries().length }, "directory known");
    else this.#log.debug({ operators: this.entries().length }, "directory changed");
    this.#synced = true;
    this.#tellSynced();
    for (const listener of this.#listeners) listener();
  }
}
