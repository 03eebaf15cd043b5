import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, fstatSync, openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Fault } from "../../core/fault.ts";
import { packageFile } from "../../core/package.ts";

/** One line of a program's log. */
export type LogLine = { level: string; msg: string; [field: string]: unknown };

const POLL_MS = 20;
const STOP_MS = 12_000;
const LAST_LINES = 12;

/** A program of ours as a process of its own, with its log in a file. */
export class Program {
  readonly name: string;
  readonly log_file: string;
  readonly #child: ChildProcess;
  /** A program that is started again goes on in the same file; its own lines begin here. */
  readonly #begin: number;
  #over = false;

  /** `keep` lets it outlive the process that started it. */
  constructor(
    name: string,
    {
      argv,
      env,
      logs,
      keep,
    }: { argv: string[]; env: NodeJS.ProcessEnv; logs: string; keep: boolean },
  ) {
    const [bin = "", ...args] = argv;
    this.name = name;
    this.log_file = join(logs, `${name}.log`);
    const log = openSync(this.log_file, "a");
    this.#begin = fstatSync(log).size;
    this.#child = spawn(process.execPath, [packageFile(`dist/bin/${bin}.js`), ...args], {
      env,
      stdio: ["ignore", log, log],
      detached: keep,
    });
    this.#child.once("exit", () => {
      this.#over = true;
    });
    closeSync(log);
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** What it has logged so far; lines that are not JSON (a crash, say) come as `msg`. */
  lines(): LogLine[] {
    return readFileSync(this.log_file)
      .subarray(this.#begin)
      .toString("utf8")
      .split("\n")
      .filter((line) => line !== "")
      .map(parseLine);
  }

  /** The first line that fits, also one of before; fails when the program ends or time is up. */
  async said(
    fits: (line: LogLine) => boolean,
    { what, within_ms }: { what: string; within_ms: number },
    signal: AbortSignal,
  ): Promise<LogLine> {
    const until = Date.now() + within_ms;
    for (;;) {
      const over = this.#over;
      const line = this.lines().find(fits);
      if (line) return line;
      if (over)
        throw new Fault("failed", `${this.name} ended before it was ${what}${this.#last()}`);
      if (Date.now() > until) {
        throw new Fault(
          "timeout",
          `${this.name} was not ${what} in ${within_ms / 1_000} s${this.#last()}`,
        );
      }
      await sleep(POLL_MS, undefined, { signal }).catch(() => signal.throwIfAborted());
    }
  }

  /** Lets this process end although that one goes on. */
  release(): void {
    this.#child.unref();
  }

  /** Asks it to stop, insists after a while, and resolves with its exit code once it is gone. */
  async stop(how: NodeJS.Signals = "SIGTERM"): Promise<number | null> {
    if (!this.#over) {
      const exited = new Promise<void>((resolve) => this.#child.once("exit", () => resolve()));
      this.#child.kill(how);
      const insist = setTimeout(() => this.#child.kill("SIGKILL"), STOP_MS);
      await exited;
      clearTimeout(insist);
    }
    return this.#child.exitCode;
  }

  /** Resolves with the exit code once the program has ended by itself. */
  async ended(): Promise<number | null> {
    if (!this.#over)
      await new Promise<void>((resolve) => this.#child.once("exit", () => resolve()));
    return this.#child.exitCode;
  }

  #last(): string {
    const lines = readFileSync(this.log_file, "utf8").trimEnd().split("\n").slice(-LAST_LINES);
    return `; its last log lines (${this.log_file}):\n${lines.map((line) => `  ${line}`).join("\n")}`;
  }
}

function parseLine(line: string): LogLine {
  try {
    return JSON.parse(line) as LogLine;
  } catch {
    return { level: "raw", msg: line };
  }
}
