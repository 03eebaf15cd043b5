import { Command, Option } from "commander";
import type { z } from "zod";
import { explain } from "../core/fault.ts";
import { LEVELS, type Log, openLog } from "../core/log.ts";
import { type Metrics, openMetrics } from "../core/metrics.ts";
import { type Lifetime, run } from "../core/run.ts";
import { type OpenSettings, openSettings } from "../core/settings/live.ts";
import { loadSettings } from "../core/settings/load.ts";
import { VERSION } from "../core/version.ts";

const USAGE_ERROR = 2;

type LogFlags = { level: keyof typeof LEVELS; format: string };

/** What `eps`, `sd` and `proxy` have in common: global flags, `version`, help, and exit codes. */
export function program(name: string, description: string, examples: string): Command {
  const command = new Command(name)
    .description(description)
    .addOption(
      new Option("--level <level>", "how much to log")
        .choices(Object.keys(LEVELS))
        .default("info")
        .argParser((level: string) => level.toLowerCase()),
    )
    .addOption(
      new Option(
        "--format <format>",
        "log lines: JSON or pretty by default, or the original's form",
      )
        .choices(["iris"])
        .default("", "by terminal"),
    )
    .addHelpText("after", `\nExamples:\n${examples}`)
    .addHelpText("after", "\nExit codes: 0 done, 1 failed, 2 wrong usage or settings")
    .showSuggestionAfterError()
    .showHelpAfterError("(add --help for the commands and flags there are)")
    .exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? 0 : USAGE_ERROR));
  command
    .command("version")
    .description("print the version")
    .action(() => void process.stdout.write(`${VERSION}\n`));
  return command;
}

/** A settings schema and the environment variable that names the folders to read. */
type Source<S extends z.ZodType> = { schema: S; variable: string };

type RoleDeps = { log: Log; metrics: Metrics; mayDrain: Lifetime["mayDrain"] };

/**
 * Runs a server: reads its settings, opens its log, and keeps it until it is asked to leave. At SIGHUP
 * the settings are read again, and what can change at once does.
 */
export async function serve<S extends z.ZodType>(
  command: Command,
  { schema, variable }: Source<S>,
  role: (settings: z.output<S>, deps: RoleDeps, signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const { level, format } = command.optsWithGlobals<LogFlags>();
  await run(async (signal, { mayDrain, onHangup }) => {
    const open = await openSettings(schema, variable);
    const log = openLog({ service: rootName(command), level, format });
    for (const warning of open.warnings) log.warn(warning);
    let renewing = Promise.resolve();
    onHangup(() => {
      renewing = renewing.then(() => renew(open, log));
    });
    await role(open.settings, { log, metrics: openMetrics(), mayDrain }, signal);
  });
}

async function renew(open: OpenSettings<unknown>, log: Log): Promise<void> {
  try {
    const { taken, left, warnings } = await open.renew();
    for (const warning of warnings) log.warn(warning);
    if (left.length > 0) log.warn({ keys: left }, "these settings take effect at the next start");
    log.info({ changed: taken }, "settings read again");
  } catch (reason) {
    log.error(`the settings stay as they are: ${explain(reason)}`);
  }
}

/** Runs a command that does one thing: it prints its result on standard output, and warnings aside. */
export async function perform<S extends z.ZodType>(
  { schema, variable }: Source<S>,
  work: (settings: z.output<S>, signal: AbortSignal) => Promise<void>,
): Promise<void> {
  await run(async (signal) => {
    const { settings, warnings } = await loadSettings(schema, variable);
    for (const warning of warnings) process.stderr.write(`warning: ${warning}\n`);
    await work(settings, signal);
  });
}

function rootName(command: Command): string {
  return command.parent ? rootName(command.parent) : command.name();
}
