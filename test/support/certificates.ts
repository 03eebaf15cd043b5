import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TlsSettings } from "../../src/net/settings.ts";
import { makeRoot, makeTlsLeaf, privateKeyPem } from "../../src/roles/dev/issue.ts";

/** A certificate authority of its own, whose certificates lie in a folder of their own. */
export class Authority implements AsyncDisposable {
  readonly #folder: string;
  readonly #root: Awaited<ReturnType<typeof makeRoot>>;

  private constructor(folder: string, root: Awaited<ReturnType<typeof makeRoot>>) {
    this.#folder = folder;
    this.#root = root;
  }

  static async open(): Promise<Authority> {
    const folder = await mkdtemp(join(tmpdir(), "eps-authority-"));
    const root = await makeRoot("ecdsa", new Date());
    await writeFile(join(folder, "root.crt"), root.certificate.toString("pem"));
    return new Authority(folder, root);
  }

  /** TLS settings for somebody of this name, who trusts this authority. */
  async issue(name: string): Promise<TlsSettings> {
    const leaf = await makeTlsLeaf(name, "ecdsa", new Date(), this.#root);
    await writeFile(this.#file(`${name}.crt`), leaf.certificate.toString("pem"));
    await writeFile(this.#file(`${name}.key`), privateKeyPem(leaf, "pkcs8"));
    return {
      ...this.nobody(),
      certificate_file: this.#file(`${name}.crt`),
      key_file: this.#file(`${name}.key`),
    };
  }

  /** TLS settings of a client that trusts this authority and has no certificate. */
  nobody(): TlsSettings {
    return {
      ca_certificate_files: [this.#file("root.crt")],
      certificate_file: undefined,
      key_file: undefined,
      verify_client: true,
      request_client_cert: false,
      server_name: undefined,
      insecure_skip_verify: false,
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.#folder, { recursive: true });
  }

  #file(name: string): string {
    return join(this.#folder, name);
  }
}
