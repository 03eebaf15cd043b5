import { setTimeout as sleep } from "node:timers/promises";
import { explain } from "../../core/fault.ts";
import { openLog } from "../../core/log.ts";
import { openMetrics } from "../../core/metrics.ts";
import { run } from "../../core/run.ts";
import { Scope } from "../../core/scope.ts";
import { playRoles, type Role } from "../../roles/proxy/roles.ts";
import { ZeromqSettings } from "../../roles/proxy/settings.ts";
import { openZeromq } from "../../roles/proxy/zeromq.ts";

const LOOK_MS = 500;

type Usage = {
  name: string;
  /** What its arguments are called, all of them ports. */
  ports: readonly string[];
  only: "responder" | "publisher";
  /** The three ports of a switch, made of these arguments. */
  arrange(ports: readonly string[]): readonly (string | undefined)[];
};

/**
 * One of the two programs that a CAMEO server starts beside itself (seed-systems 4.2): the same
 * arguments, and in trouble a message on standard output and exit code 1. It ends with whoever started
 * it, even if that was killed.
 */
export async function cameoProgram(usage: Usage): Promise<void> {
  const parent = process.ppid;
  await run(async (signal, { mayDrain }) => {
    const ports = process.argv.slice(2, 2 + usage.ports.length);
    await using scope = new Scope(signal);
    try {
      const settings = settingsOf(usage, ports);
      mayDrain(() => settings.limits.drain_timeout * 1_000);
      void noticeOrphan(parent, scope.signal).then(() => scope[Symbol.asyncDispose]());
      const log = openLog({ service: usage.name, level: "warn" });
      const role: Role = (stage) => openZeromq(settings, stage, usage.only);
      const roles = new Map([["zeromq", role]]);
      await playRoles(roles, { zeromq: settings }, { log, metrics: openMetrics() }, scope.signal);
    } catch (reason) {
      process.stdout.write(`${usage.name}: ${explain(reason)}\n`);
      process.exitCode = 1;
    }
  });
}

function settingsOf({ name, ports: names, arrange }: Usage, ports: readonly string[]) {
  const fit = ports.every((port) => /^\d{1,5}$/.test(port) && Number(port) < 65_536);
  if (ports.length < names.length || !fit) {
    throw new Error(`usage: ${name} ${names.map((each) => `<${each}>`).join(" ")}`);
  }
  return ZeromqSettings.parse({
    proxy_ports: arrange(ports)
      .map((port) => port ?? 0)
      .join(),
    // Applications dial their own machine by whatever name the server has; others are turned away.
    internal_host: "::",
  });
}

/** Resolves once whoever started this process is gone, or when the signal aborts. */
async function noticeOrphan(parent: number, signal: AbortSignal): Promise<void> {
  while (!signal.aborted && process.ppid === parent)
    await sleep(LOOK_MS, undefined, { signal }).catch(() => {});
}
