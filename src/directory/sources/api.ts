import { setTimeout as sleep } from "node:timers/promises";
import { Backoff, orAbort } from "../../core/deadline.ts";
import { explain } from "../../core/fault.ts";
import type { Log } from "../../core/log.ts";
import type { Json } from "../../wire/json.ts";
import { openTrust } from "../certificates.ts";
import type { Directory } from "../directory.ts";
import type { Entry } from "../entry.ts";
import type { DirectoryEvents } from "../events.ts";
import { Replica } from "../replica.ts";
import { SdClient } from "../sd-client.ts";
import type { ApiDirectorySettings } from "../settings.ts";

/** How long the directory server may hold an answer back until there is something new. */
const WAIT_MS = 25_000;
const ANSWER_MS = 10_000;

/**
 * A verified copy of a service directory, kept up to date in the background.
 *
 * Nobody who asks it ever waits for the network: answers come from memory, also while the server is
 * away. New records arrive as soon as they are submitted, because `getRecords` carries `wait_ms`; an
 * original server ignores that and answers at once, and is then asked every `cache_entries_for`.
 */
export async function openApiDirectory(
  settings: ApiDirectorySettings,
  { log, events }: { log: Log; events?: DirectoryEvents },
): Promise<Directory> {
  const trust = await openTrust(
    settings.ca_certificate_files,
    settings.ca_intermediate_certificate_files,
  );
  const client = await SdClient.open(settings, { log });
  const replica = new Replica(trust, (root) => {
    log.warn({ signed: root.record.created_at }, "the service directory began anew");
  });
  return new ApiDirectory(settings, { log, events, client, replica });
}

class ApiDirectory implements Directory {
  readonly #replica: Replica;
  readonly #client: SdClient;
  readonly #log: Log;
  readonly #events: DirectoryEvents | undefined;
  readonly #pause_ms: number;
  readonly #listeners = new Set<() => void>();
  readonly #stop = new AbortController();
  readonly #following: Promise<void>;
  #synced = false;
  #tellSynced = (): void => {};
  readonly #firstSync = new Promise<void>((resolve) => {
    this.#tellSynced = resolve;
  });

  constructor(
    settings: ApiDirectorySettings,
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
    this.#following = this.#follow(this.#stop.signal);
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
    let failing = false;
    while (!stop.aborted) {
      try {
        const asked_at = Date.now();
        const changed = await this.#replica.update(await this.#ask(stop));
        this.#events?.read(this.entries());
        if (failing) this.#log.info("the service directory answers again");
        failing = false;
        backoff.reset();
        if (changed || !this.#synced) this.#tell();
        else if (Date.now() - asked_at < WAIT_MS / 2) {
          await sleep(this.#pause_ms, undefined, { signal: stop }); // a server that does not wait
        }
      } catch (reason) {
        if (stop.aborted) return;
        this.#events?.failed();
        if (!failing) {
          const consequence = this.#synced ? "; going on with what is known" : "";
          this.#log.warn({ reason: explain(reason) }, `no news from the directory${consequence}`);
        }
        failing = true;
        await backoff.wait(stop).catch(() => {});
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
