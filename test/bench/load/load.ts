import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { Deadline, orAbort } from "../../../src/core/deadline.ts";
import type { Work } from "./process.ts";

const PROGRAM = fileURLToPath(new URL("process.ts", import.meta.url));
const WORK_MS = 120_000;

/** One side of the load, from outside: a process that does one thing at a time. */
export class Load implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #gone: Promise<{ failed: string }[]>;
  readonly name: string;

  constructor(name: string) {
    this.name = name;
    this.#child = fork(PROGRAM, { execArgv: ["--import", "tsx"] });
    this.#gone = once(this.#child, "exit").then(() => [{ failed: "it is gone" }]);
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** Throws what went wrong there, or when the process is gone or takes far too long. */
  async do<What extends keyof Work>(
    what: What,
    asked: Work[What]["asked"],
  ): Promise<Work[What]["answered"]> {
    const waitingFor = `the ${this.name}'s side of the load, ${what},`;
    using deadline = new Deadline(WORK_MS, waitingFor);
    if (!this.#child.connected) throw new Error(`${waitingFor} failed: it is gone`);
    this.#child.send({ what, ...asked });
    const answered = once(this.#child, "message");
    const [reply] = await orAbort(Promise.race([answered, this.#gone]), deadline.signal);
    if ("answered" in reply) return reply.answered;
    throw new Error(`${waitingFor} failed: ${reply.failed}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    this.#child.kill("SIGKILL");
    await this.#gone;
  }
}
