import { X509Certificate } from "node:crypto";
import { stat } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";
import { explain } from "../core/fault.ts";
import type { Log } from "../core/log.ts";
import type { TlsSettings } from "./settings.ts";
import { readTls, type TlsMaterial } from "./tls.ts";

/** How often the files are looked at; one that changed is read once two looks in a row agree on it. */
const LOOK_MS = 1_000;

/**
 * The files of a `tls` settings block, and what they hold now.
 *
 * They are looked at again and again instead of being watched, because a renewed certificate often
 * comes as another file of the same name, or behind a symbolic link to a folder that was replaced.
 * Files that cannot be used, half written or of a key that belongs to another certificate, are told
 * once and change nothing until they change again.
 */
export class LiveTls implements AsyncDisposable {
  readonly #settings: TlsSettings;
  readonly #log: Log;
  readonly #listeners = new Set<(material: TlsMaterial) => void>();
  readonly #stop = new AbortController();
  readonly #looking: Promise<void>;
  #current: TlsMaterial;
  /** What the files looked like at the last look, and when they were last read. */
  #seen: string;
  #read: string;

  constructor(
    settings: TlsSettings,
    { material, look, log }: { material: TlsMaterial; look: string; log: Log },
  ) {
    this.#settings = settings;
    this.#log = log;
    this.#current = material;
    this.#seen = look;
    this.#read = look;
    this.#looking = this.#keepLooking(this.#stop.signal);
  }

  /** For the next handshake. Those that are over are not concerned by what comes later. */
  get current(): TlsMaterial {
    return this.#current;
  }

  /** Calls `listener` with what to use from now on, whenever that is something else. */
  onChange(listener: (material: TlsMaterial) => void): void {
    this.#listeners.add(listener);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#looking;
  }

  async #keepLooking(stop: AbortSignal): Promise<void> {
    while (!stop.aborted) {
      await sleep(LOOK_MS, undefined, { signal: stop, ref: false }).catch(() => {});
      if (!stop.aborted) await this.#look();
    }
  }

  async #look(): Promise<void> {
    const look = await lookAt(this.#settings);
    const settled = look === this.#seen;
    this.#seen = look;
    if (!settled || look === this.#read) return;
    this.#read = look;
    try {
      const material = await readTls(this.#settings);
      if (isDeepStrictEqual(material, this.#current)) return;
      this.#current = material;
      for (const listener of this.#listeners) listener(material);
      this.#log.info(shown(this.#settings, material), "new TLS files in use");
    } catch (reason) {
      this.#log.warn(
        { reason: explain(reason) },
        "changed TLS files cannot be used, so those of before stay in use until they change again",
      );
    }
  }
}

/** Reads and checks the files as `readTls` does, and follows their changes until it is disposed. */
export async function openTls(settings: TlsSettings, { log }: { log: Log }): Promise<LiveTls> {
  const look = await lookAt(settings); // before they are read, so that no change goes unseen
  return new LiveTls(settings, { material: await readTls(settings), look, log });
}

/** A text that is another one whenever a file is another one, was written to, or has other rights. */
async function lookAt(settings: TlsSettings): Promise<string> {
  const { ca_certificate_files, certificate_file, key_file } = settings;
  const files = [certificate_file, key_file, ...ca_certificate_files].filter((file) => !!file);
  const looks = files.map(async (file = "") => {
    const found = await stat(file, { bigint: true }).catch(() => undefined);
    return `${file} ${found?.dev} ${found?.ino} ${found?.size} ${found?.mtimeNs} ${found?.ctimeNs}`;
  });
  return (await Promise.all(looks)).join("\n");
}

/** The fingerprint is what the directory has to pin. */
function shown({ certificate_file }: TlsSettings, { cert }: TlsMaterial): object {
  if (!cert) return {};
  const { fingerprint256, validTo } = new X509Certificate(cert);
  const fingerprint = fingerprint256.replaceAll(":", "").toLowerCase();
  return { certificate_file, fingerprint, valid_to: validTo };
}
