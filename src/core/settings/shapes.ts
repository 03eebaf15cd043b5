import { isIPv6 } from "node:net";
import * as z from "zod";

/*
 * What settings are made of, beyond zod's own words (eps-protocol 1.6). Every message begins with
 * "expected", so that a problem can go on with what was found instead.
 */

/** A key that may be left out. Null and an empty text count as left out. */
export function optional<S extends z.ZodType>(shape: S) {
  return z.preprocess(nothingIfBlank, shape.optional());
}

/** As `optional`, but whoever reads the settings finds `value`. */
export function defaultTo<S extends z.ZodType>(
  value: z.core.util.NoUndefined<z.output<S>>,
  shape: S,
) {
  return z.preprocess(nothingIfBlank, shape.default(value));
}

/** A map in which everything has a default, and which therefore may be left out itself. */
export function defaultsOf<S extends z.ZodObject>(shape: S) {
  return z.preprocess(nothingIfBlank, shape.prefault({} as z.input<S>));
}

function nothingIfBlank(value: unknown): unknown {
  return value === null || value === "" ? undefined : value;
}

/** A text that says something. */
export const text = z.string().min(1, "expected a text that is not empty");

export function wholeNumber(least: number, most: number) {
  const error = `expected a whole number from ${least} to ${most}`;
  return z
    .number({ error })
    .refine((n) => Number.isInteger(n) && n >= least && n <= most, { error });
}

/** A duration. Fractions are allowed. */
export function seconds(least: number, most: number) {
  const error = `expected seconds, a number from ${least} to ${most}`;
  return z.number({ error }).refine((n) => n >= least && n <= most, { error });
}

/** `host:port` as Go listens on it and dials it: an empty host is every interface, port 0 any port. */
export const endpoint = z.string().refine(isEndpoint, {
  error: 'expected host:port such as "localhost:4444", ":4444" or "[::1]:4444"',
});

function isEndpoint(value: string): boolean {
  const [, bracketed, port] = /^(?:\[([^\]]+)\]|[^:\s/[\]]*):(\d{1,5})$/.exec(value) ?? [];
  if (port === undefined || Number(port) > 65_535) return false;
  return bracketed === undefined || isIPv6(bracketed);
}

export const webAddress = z.string().refine(isWebAddress, {
  error: 'expected an address such as "https://localhost:3322/jsonrpc"',
});

function isWebAddress(value: string): boolean {
  return /^https?:\/\//i.test(value) && URL.canParse(value);
}

export const pattern = z.string().refine(isPattern, { error: "expected a regular expression" });

function isPattern(value: string): boolean {
  try {
    expressionOf(value);
    return true;
  } catch {
    return false;
  }
}

/**
 * The expression that a pattern of the settings stands for. The original's dialect (RE2) may begin
 * with flags, as in `(?i)^https://`, which Node 20 only takes apart from the pattern.
 */
export function expressionOf(pattern: string): RegExp {
  const [prefix = "", flags = ""] = /^\(\?([ims]+)\)/.exec(pattern) ?? [];
  return new RegExp(pattern.slice(prefix.length), flags);
}

/**
 * A rule that concerns several keys of a map, or several items of a list. It is checked even when
 * something else in there is wrong, so that nobody repairs a file twice; hence `unknown`.
 */
export function rule<T>(
  check: (value: unknown, complain: (path: PropertyKey[], message: string) => void) => void,
): z.core.$ZodCheck<T> {
  const isContainer = (value: unknown): boolean => typeof value === "object" && value !== null;
  return z.core._check<T>(
    (payload) => {
      check(payload.value, (path, message) => {
        payload.issues.push({
          code: "custom",
          path,
          message,
          input: payload.value,
          continue: true,
        });
      });
    },
    { when: ({ value }) => isContainer(value) },
  );
}
