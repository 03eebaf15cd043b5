import { styleText } from "node:util";
import { Argument, Command, InvalidArgumentError, Option } from "commander";
import type * as z from "zod";
import { explain, Fault } from "../core/fault.ts";
import { type Findings, findingsOf, printFindings } from "../core/findings.ts";
import { LEVELS, type Log, openLog } from "../core/log.ts";
import { type Metrics, openMetrics } from "../core/metrics.ts";
import { VERSION } from "../core/package.ts";
import { type Lifetime, run } from "../core/run.ts";
import { type OpenSettings, openSettings } from "../core/settings/live.ts";
import { loadSettings } from "../core/settings/load.ts";
import { completionScript, SHELLS, type Shell } from "./completion.ts";

const USAGE_ERROR = 2;

type LogFlags = { level: keyof typeof LEVELS; format: string };

/** What `eps`, `sd` and `proxy` have in common: global flags, `version`, help, and exit codes. */
export function program(name: string, description: string, examples: string[]): Command {
  const command = new Command(name)
    .description(description)
    .version(`${name} ${VERSION}`, "--version", "print the name and the version")
    .addOption(
      new Option("--level <level>", "how much to log")
        .choices(Object.keys(LEVELS))
        .default("info")
        .argParser(levelOf),
    )
    .addOption(
      new Option(
        "--format <format>",
        "log lines: JSON or pretty by default, or the original's form",
      )
        .choices(["iris"])
        .default("", "by terminal"),
    )
    .addHelpText("after", exampleText(examples))
    .configureHelp({
      styleTitle: (title) => styleText("bold", title, { validateStream: false }),
    })
    .showSuggestionAfterError()
    .showHelpAfterError("(add --help for the commands and flags there are)")
    .exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? 0 : USAGE_ERROR));
  const version = command
    .command("version")
    .description("print the version")
    .action(() => void process.stdout.write(`${VERSION}\n`));
  show(version, [`${name} version`]);
  const completion = command
    .command("completion")
    .description("print a script that completes commands and flags in your shell")
    .addArgument(new Argument("<shell>", "for which shell").choices(SHELLS))
    .action((shell: Shell) => void process.stdout.write(completionScript(command, shell)));
  show(completion, [
    `source <(${name} completion bash)   # in ~/.bashrc`,
    `source <(${name} completion zsh)    # in ~/.zshrc, behind compinit`,
    `${name} completion fish > ~/.config/fish/completions/${name}.fish`,
  ]);
  return command;
}

/** In any case, as the original has it. It stands in for the check that `choices` would make. */
function levelOf(text: string): string {
  const level = text.toLowerCase();
  if (level in LEVELS) return level;
  throw new InvalidArgumentError(`Allowed choices are ${Object.keys(LEVELS).join(", ")}.`);
}

const EXIT_CODES = "0 done, 1 failed, 2 wrong usage or settings";

/** Ends the help of a command with examples, and with its exit codes. */
export function show(command: Command, examples: string[], exitCodes = EXIT_CODES): Command {
  return command.addHelpText("after", exampleText(examples, exitCodes));
}

function exampleText(examples: string[], exitCodes = EXIT_CODES): string {
  const lines = examples.map((example) => `  ${example}\n`).join("");
  return `\nExamples:\n${lines}\nExit codes: ${exitCodes}`;
}

/** A flag of commands that show something to people. */
export function jsonFlag(): Option {
  return new Option("--json", "print JSON, for programs").default(false);
}

/** A settings schema and the environment variable that names the folders to read. */
type Source<S extends z.ZodType> = { schema: S; variable: string };

export type RoleDeps = { log: Log; metrics: Metrics; mayDrain: Lifetime["mayDrain"] };

/**
 * Runs a server: reads its settings, opens its log, and keeps it until it is asked to leave. At SIGHUP
 * the settings are read again, and what can change at once does.
 */
export async function serve<S extends z.ZodType>(
  command: Command,
  { schema, variable }: Source<S>,
  role: (settings: z.output<S>, deps: RoleDeps, signal: AbortSignal) => Promise<void>,
): Promise<void> {
  await run(async (signal, { mayDrain, onHangup }) => {
    const open = await openSettings(schema, variable);
    const log = logOf(command);
    for (const warning of open.warnings) log.warn(warning);
    let renewing = Promise.resolve();
    onHangup(() => {
      renewing = renewing.then(() => renew(open, log));
    });
    await role(open.settings, { log, metrics: openMetrics(), mayDrain }, signal);
  });
}

/** Runs a server whose flags say everything, so that it reads no settings; also how it logs, perhaps. */
export async function serveAsTold(
  command: Command,
  role: (deps: RoleDeps, signal: AbortSignal) => Promise<void>,
  logged: { level?: LogFlags["level"]; file?: string } = {},
): Promise<void> {
  await run(async (signal, { mayDrain }) => {
    await role({ log: logOf(command, logged), metrics: openMetrics(), mayDrain }, signal);
  });
}

function logOf(command: Command, logged: { level?: LogFlags["level"]; file?: string } = {}): Log {
  const { level, format } = command.optsWithGlobals<LogFlags>();
  return openLog({ service: rootName(command), level, format, ...logged });
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

type Check<S extends z.ZodType> = (settings: z.output<S>, signal: AbortSignal) => Findings;

/** Adds the command `check` to a program. `looked` names what it looks at. */
export function addCheck<S extends z.ZodType>(
  command: Command,
  source: Source<S>,
  { looked, check }: { looked: string; check: Check<S> },
): void {
  const added = command
    .command("check")
    .description(`look for mistakes in ${looked}, and say how to mend them`)
    .addOption(jsonFlag())
    .action((flags) => examine(source, flags, check));
  const name = command.name();
  const examples = [
    `${name} check`,
    `${name} check --json | jq '.[] | select(.severity == "problem")'`,
  ];
  show(added, examples, "0 no problem, 1 a problem was found, 2 wrong usage");
}

/**
 * Runs a check and prints its findings. Settings that cannot be used are a finding like any other.
 * The exit code is 1 if there is a problem.
 */
async function examine<S extends z.ZodType>(
  { schema, variable }: Source<S>,
  flags: { json: boolean },
  check: Check<S>,
): Promise<void> {
  await run(async (signal) => {
    const { ok, warning, problem } = findingsOf("settings");
    async function* all(): Findings {
      const loaded = await loadSettings(schema, variable).catch((reason: unknown) => {
        if (reason instanceof Fault && reason.fault === "settings") return reason;
        throw reason;
      });
      if (loaded instanceof Fault) {
        yield problem(
          loaded.message,
          "Correct them; settings/README.md has every setting there is.",
        );
        return;
      }
      for (const each of loaded.warnings) yield warning(each, "Correct or remove the key.");
      yield ok(`${variable} can be used`);
      yield* check(loaded.settings, signal);
    }
    if (await printFindings(all(), flags)) process.exitCode = 1;
  });
}

function rootName(command: Command): string {
  return command.parent ? rootName(command.parent) : command.name();
}
