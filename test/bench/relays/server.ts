import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync, readFileSync } from "node:fs";
import { type AddressInfo, connect, createServer } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const START_MS = 20_000;
const STOP_MS = 8_000;
const POLL_MS = 20;

/** A program that serves on a port, with its log in a file; ended with all that it has started. */
export class Server implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #log: string;
  readonly #exited: Promise<unknown>;

  private constructor(child: ChildProcess, log: string) {
    this.#child = child;
    this.#log = log;
    this.#exited = once(child, "exit").catch(() => {});
  }

  /** Resolves once somebody listens on that port of loopback. */
  static async start(
    argv: readonly [string, ...string[]],
    { folder, port, env = {} }: { folder: string; port: number; env?: NodeJS.ProcessEnv },
  ): Promise<Server> {
    const log_file = join(folder, "log");
    const log = openSync(log_file, "a");
    const [command, ...args] = argv;
    const child = spawn(command, args, {
      cwd: folder,
      env: { ...process.env, ...env },
      stdio: ["ignore", log, log],
      detached: true, // a group of its own, so that it can be ended with its children
    });
    closeSync(log);
    const server = new Server(child, log_file);
    try {
      await server.#listens(port);
    } catch (reason) {
      await server[Symbol.asyncDispose]();
      throw reason;
    }
    return server;
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  get #over(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.pid === undefined) return;
    this.#end("SIGTERM");
    if (!this.#over) {
      const insist = setTimeout(() => this.#end("SIGKILL"), STOP_MS);
      await this.#exited;
      clearTimeout(insist);
    }
    this.#end("SIGKILL");
  }

  async #listens(port: number): Promise<void> {
    const until = Date.now() + START_MS;
    while (!(await answers(port))) {
      if (this.#over || Date.now() > until) {
        const said = readFileSync(this.#log, "utf8").trim().slice(-2_000);
        throw new Error(`${this.#child.spawnargs.join(" ")} did not start: ${said}`);
      }
      await sleep(POLL_MS);
    }
  }

  #end(how: NodeJS.Signals): void {
    try {
      process.kill(-this.pid, how);
    } catch {
      // nobody of the group is left
    }
  }
}

async function answers(port: number): Promise<boolean> {
  const socket = connect(port, "127.0.0.1");
  try {
    await once(socket, "connect");
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

/** Ports of loopback that nobody listens on now, for programs that cannot say which the kernel gave them. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, "127.0.0.1"));
  await Promise.all(servers.map((server) => once(server, "listening")));
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  await Promise.all(servers.map((server) => once(server.close(), "close")));
  return ports;
}
