import { execFile } from "node:child_process";
import { once } from "node:events";
import { readFile, writeFile } from "node:fs/promises";
import type { Server } from "node:http";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect } from "vitest";
import { PASSTHROUGH_ROLES } from "../../src/roles/dev/passthrough.ts";
import type { Town } from "../../src/roles/dev/town.ts";
import type { Answer } from "../../src/wire/answer.ts";
import { eventually, foundTown, GATEWAY, settingsWithCertificates } from "./town.ts";

export const DOMAIN = "test.internal-server.local";

/** A town with a public and a private proxy, before which `inside` serves; both are its to close. */
export async function foundPassthrough(inside: Server): Promise<Passthrough> {
  const settings = await settingsWithCertificates();
  const town = await foundTown(settings.folder);
  const passthrough = new Passthrough(settings, town, inside);
  try {
    await Promise.all(PASSTHROUGH_ROLES.map((role) => town.start(role)));
    await town.setUp();
    inside.listen(town.port(7777), "127.0.0.1");
    await once(inside, "listening");
    return passthrough;
  } catch (reason) {
    await passthrough[Symbol.asyncDispose]();
    throw reason;
  }
}

export class Passthrough implements AsyncDisposable {
  readonly town: Town;
  readonly #settings: AsyncDisposable;
  readonly #inside: Server;

  constructor(settings: AsyncDisposable, town: Town, inside: Server) {
    this.#settings = settings;
    this.town = town;
    this.#inside = inside;
  }

  /** What hd-1 does to have a domain announced, or with a time that has passed taken back. */
  announce(domain: string, expires_at: string | null = null): Promise<Answer> {
    const params = { domain, proxy: "public-proxy-1.ga", expires_at };
    return this.town.call(
      { role: "hd-1", port: GATEWAY["hd-1"] },
      { method: "private-proxy-1.ga.announceConnection", params },
    );
  }

  async announced(): Promise<void> {
    await eventually(15_000, async () =>
      expect(await this.announce(DOMAIN)).toEqual({ result: "ok" }),
    );
  }

  async curl(...more: string[]): Promise<string> {
    const port = this.town.port(4433);
    const url = `https://${DOMAIN}:${port}/jsonrpc?x=1`;
    const resolve = `${DOMAIN}:${port}:127.0.0.1`;
    const root = join(this.town.certs, "root.crt");
    const known = ["--silent", "--show-error", "--max-time", "10"];
    const args = [...known, "--cacert", root, "--resolve", resolve, url];
    return (await promisify(execFile)("curl", [...args, ...more])).stdout;
  }

  /** Runs a proxy with other settings for as long as the work takes. */
  async withSettings(
    role: string,
    change: (text: string) => string,
    work: () => Promise<void>,
  ): Promise<void> {
    const file = join(this.town.settings(role), "001_default.yml");
    const before = await readFile(file, "utf8");
    expect(change(before), "the change must change something").not.toBe(before);
    const restart = async (text: string): Promise<void> => {
      await this.town.stop(role);
      await writeFile(file, text);
      await this.town.start(role);
    };
    await restart(change(before));
    await work().finally(() => restart(before));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#inside.closeAllConnections();
    this.#inside.close();
    await this.town[Symbol.asyncDispose]();
    await this.#settings[Symbol.asyncDispose]();
  }
}
