import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Fault } from "../../core/fault.ts";
import { JsonrpcClient } from "../../rpc/jsonrpc/client.ts";
import type { Answer } from "../../wire/answer.ts";
import type { JsonObject } from "../../wire/json.ts";
import { freePorts } from "./ports.ts";
import { type LogLine, Program } from "./processes.ts";

const READY_MS = 40_000;
const PORT = /(?<=\b(?:localhost|127\.0\.0\.1):)\d{2,5}\b/g;

/** Which program plays a role, and by which variable it finds its settings. */
function programOf(role: string): { argv: string[]; variable: string } {
  if (role.startsWith("sd-")) return { argv: ["sd", "run"], variable: "SD_SETTINGS" };
  const [, kind] = /^(public|private)-proxy-\d+$/.exec(role) ?? [];
  if (kind) return { argv: ["proxy", "run", kind], variable: "PROXY_SETTINGS" };
  return { argv: ["eps", "server", "run"], variable: "EPS_SETTINGS" };
}

/**
 * The development roles as processes on this machine, from a copy of their settings in a temporary
 * folder with ports that are free, so that neither the user's own roles nor their data are touched.
 */
export class Town implements AsyncDisposable {
  /** Where the copy of the settings, the data and the logs are. */
  readonly folder: string;
  readonly #ports: ReadonlyMap<string, number>;
  readonly #keep: boolean;
  readonly #programs = new Map<string, Program>();
  readonly #signal: AbortSignal;
  #left = false;

  private constructor(
    folder: string,
    ports: ReadonlyMap<string, number>,
    { keep, signal }: { keep: boolean; signal: AbortSignal },
  ) {
    this.folder = folder;
    this.#ports = ports;
    this.#keep = keep;
    this.#signal = signal;
  }

  /** Copies `settings`, a folder like `settings/dev`, with the certificates in it if there are any. */
  static async found(
    settings: string,
    { keep, signal }: { keep: boolean; signal: AbortSignal },
  ): Promise<Town> {
    const folder = await mkdtemp(join(tmpdir(), "eps-town-"));
    try {
      const copy = join(folder, "settings");
      const isData = (path: string): boolean =>
        /[\\/]data([\\/]|$)/.test(path.slice(settings.length));
      await cp(settings, copy, { recursive: true, filter: (path) => !isData(path) });
      await mkdir(join(folder, "logs"));
      return new Town(folder, await moveToFreePorts(copy), { keep, signal });
    } catch (reason) {
      await rm(folder, { recursive: true, force: true });
      throw reason;
    }
  }

  /** The port that stands here for one of the settings. */
  port(documented: number): number {
    const port = this.#ports.get(String(documented));
    if (!port) throw new Fault("malformed", `no settings mention port ${documented}`);
    return port;
  }

  get certs(): string {
    return join(this.folder, "settings", "certs");
  }

  get directory(): string {
    return join(this.folder, "settings", "directory");
  }

  settings(role: string): string {
    return join(this.folder, "settings", "roles", role);
  }

  program(role: string): Program {
    const program = this.#programs.get(role);
    if (!program) throw new Fault("malformed", `${role} was never started`);
    return program;
  }

  /** Starts a role and resolves once it says that it is ready. */
  async start(role: string): Promise<Program> {
    const { argv, variable } = programOf(role);
    const program = this.#launch(role, argv, { [variable]: this.settings(role) });
    this.#programs.set(role, program);
    await program.said(
      ({ msg }) => msg === "ready",
      { what: "ready", within_ms: READY_MS },
      this.#signal,
    );
    return program;
  }

  async stop(role: string, how: NodeJS.Signals = "SIGTERM"): Promise<number | null> {
    return await this.program(role).stop(how);
  }

  /** Submits the directory, as `make sd-setup` does. */
  async setUp(): Promise<void> {
    const { directory } = this;
    const files = (await readdir(directory)).filter((file) => file.endsWith(".json")).sort();
    const argv = [
      "eps",
      "sd",
      "submit-records",
      "--reset",
      ...files.map((f) => join(directory, f)),
    ];
    const program = this.#launch("sd-setup", argv, { EPS_SETTINGS: this.settings("hd-1") });
    if ((await program.ended()) === 0) return;
    const told = program.lines().map(({ msg }) => msg);
    throw new Fault("failed", `the directory was not accepted:\n${told.join("\n")}`);
  }

  /** Waits until a role has logged a line that fits. */
  async said(role: string, what: string, fits: (line: LogLine) => boolean): Promise<LogLine> {
    return await this.program(role).said(fits, { what, within_ms: READY_MS }, this.#signal);
  }

  /** Calls a JSON-RPC server with an operator's certificate. */
  async call(
    { role, port, as = role }: { role: string; port: number; as?: string },
    { method, params = {}, id = "1" }: { method: string; params?: JsonObject; id?: string },
  ): Promise<Answer> {
    await using client = await this.client({ role, port, as });
    return await client.call({ method, params, id }, { signal: this.#signal });
  }

  /** A client of a role's JSON-RPC server, for many calls; the caller closes it. */
  async client({
    role,
    port,
    as,
  }: {
    role: string;
    port: number;
    as: string;
  }): Promise<JsonrpcClient> {
    const { certs } = this;
    return await JsonrpcClient.open({
      endpoint: `https://localhost:${this.port(port)}/jsonrpc`,
      local: true,
      tls: {
        ca_certificate_files: [join(certs, "root.crt")],
        certificate_file: join(certs, `${as}.crt`),
        key_file: join(certs, `${as}.key`),
        verify_client: true,
        request_client_cert: false,
        server_name: role,
        insecure_skip_verify: false,
      },
    });
  }

  /** From now on the town outlives whoever founded it, who must have asked to keep it. */
  leaveRunning(): void {
    this.#left = true;
    for (const program of this.#programs.values()) program.release();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#left) return;
    await Promise.all([...this.#programs.values()].map((program) => program.stop()));
    await rm(this.folder, { recursive: true, force: true });
  }

  #launch(name: string, argv: string[], settings: NodeJS.ProcessEnv): Program {
    const { EPS_SETTINGS: _, SD_SETTINGS: __, PROXY_SETTINGS: ___, ...env } = process.env;
    const logs = join(this.folder, "logs");
    return new Program(name, { argv, env: { ...env, ...settings }, logs, keep: this.#keep });
  }
}

/** Replaces every port of this machine in the settings by one that nobody uses, the same for the same. */
export async function moveToFreePorts(folder: string): Promise<Map<string, number>> {
  const files = (await readdir(folder, { recursive: true }))
    .filter((file) => /\.(yml|json)$/.test(file))
    .map((file) => join(folder, file));
  const texts = await Promise.all(files.map((file) => readFile(file, "utf8")));
  const documented = new Set(texts.flatMap((text) => text.match(PORT) ?? []));
  const free = await freePorts(documented.size);
  const ports = new Map([...documented].map((port, index) => [port, free[index] ?? 0]));
  for (const [index, file] of files.entries()) {
    await writeFile(file, texts[index]?.replace(PORT, (port) => `${ports.get(port)}`) ?? "");
  }
  return ports;
}
