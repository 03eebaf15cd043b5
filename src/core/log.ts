import { destination, type Logger, pino } from "pino";
import pretty from "pino-pretty";
import { explain } from "./fault.ts";

export type Log = Logger;

/** Names and numbers as the original programs know them (eps-protocol 1.2), in pino's words. */
export const LEVELS = {
  panic: "fatal",
  fatal: "fatal",
  error: "error",
  warn: "warn",
  warning: "warn",
  info: "info",
  debug: "debug",
  trace: "trace",
} as const;

type LogOptions = {
  service: string;
  level?: keyof typeof LEVELS;
  format?: string;
  /** Where lines go instead of standard error; they are added to what is there. */
  file?: string | undefined;
};

/**
 * The log of one program, on standard error: pretty on a terminal, otherwise one JSON object a line.
 * `format: "iris"` is the original's line form (eps-protocol 10.3).
 */
export function openLog({ service, level = "info", format = "", file }: LogOptions): Log {
  const options = {
    level: LEVELS[level],
    base: { service },
    serializers: { err: explain },
  };
  if (format === "iris" && !file) return pino(options, irisLines(service));
  if (format === "" && !file && process.stderr.isTTY) {
    const colorize = !process.env["NO_COLOR"]; // an empty one counts as none (no-color.org)
    return pino(
      options,
      pretty({ destination: 2, sync: true, colorize, ignore: "pid,hostname,service" }),
    );
  }
  return pino(
    { ...options, timestamp: pino.stdTimeFunctions.isoTime, formatters: { level: levelName } },
    destination({ dest: file ?? 2, sync: true }),
  );
}

/** A log that says nothing, for tests and for commands that report in their own words. */
export const silent: Log = pino({ level: "silent" });

function levelName(label: string): { level: string } {
  return { level: label };
}

/** `<time> <LEVEL> <pid> <service> [nan] [nan] : <message>`, with the fields behind the message. */
function irisLines(service: string): { write(line: string): void } {
  return {
    write(line) {
      const { time, level, msg, pid: _, service: __, hostname: ___, ...fields } = JSON.parse(line);
      const rest = Object.keys(fields).length > 0 ? ` ${JSON.stringify(fields)}` : "";
      const name = IRIS_LEVELS[level as number] ?? "INFO";
      const tag = service.toUpperCase().padEnd(3, "_").slice(0, 3);
      process.stderr.write(
        `${new Date(time).toISOString()} ${name} ${process.pid} ${tag} [nan] [nan] : ${msg}${rest}\n`,
      );
    },
  };
}

const IRIS_LEVELS: Record<number, string> = {
  10: "TRACE",
  20: "DEBUG",
  30: "INFO",
  40: "WARNING",
  50: "ERROR",
  60: "FATAL",
};
