import * as z from "zod";
import { Fault } from "../core/fault.ts";
import { DEPTH_MAX, isObject, type JsonObject } from "../wire/json.ts";
import { canonicalTime } from "../wire/timestamp.ts";
import { LIMITS } from "./limits.ts";

/**
 * A signed change to one section of one operator's entry, and the form it must keep.
 *
 * A record is hashed, stored and served in its *normal* form: unknown keys dropped, defaults filled
 * in, `created_at` canonical (eps-protocol 8.2, 8.3). That form is what these schemas return.
 */

const text = z.string().max(LIMITS.string_length_max);
const list = <T extends z.ZodType>(element: T) => z.array(element).max(LIMITS.list_length_max);
const isBlank = (value: unknown): boolean => value === undefined || value === null || value === "";

/** The original takes a missing key, null and "" for the same thing (eps-protocol 1.6). */
const blankAs = <T extends z.ZodType>(blank: z.output<T>, schema: T) =>
  z.preprocess((value) => (isBlank(value) ? blank : value), schema);

/** Returned as it is: a copy could lose a key such as `__proto__`, and with it the hash. */
const anyObject = z.custom<JsonObject>(
  (value) => isObject(value) && isJson(value, DEPTH_MAX / 2),
  `expected an object of JSON values, nested at most ${DEPTH_MAX / 2} deep`,
);

const Permission = z.object({
  group: text,
  rights: z
    .preprocess((value) => (Array.isArray(value) ? value : []), list(z.literal("call")))
    .refine((rights) => rights.length <= 1, "has duplicates"),
});

const permissions = blankAs([], list(Permission));

const Validator = z
  .object({ type: text, parameters: blankAs(undefined, anyObject.optional()) })
  .transform(withoutUndefined);

const Parameter = z
  .object({ name: text, validators: blankAs(undefined, list(Validator).optional()) })
  .transform(withoutUndefined);

const Method = z
  .object({ name: text, permissions, parameters: blankAs(undefined, list(Parameter).optional()) })
  .transform(withoutUndefined);

const Service = z.object({ name: text, permissions, methods: blankAs([], list(Method)) });

const Channel = z
  .object({ type: text, settings: blankAs(undefined, anyObject.optional()) })
  .transform(withoutUndefined);

const Certificate = z.object({ fingerprint: text, key_usage: text });

const Setting = z.object({
  operator: blankAs("", text),
  service: blankAs("", text),
  environment: blankAs("", text),
  settings: anyObject,
});

/** Who a record is about and since when; every section has these. */
const about = {
  name: z.string().max(LIMITS.name_length_max),
  created_at: z.string().transform((value, context) => {
    const canonical = canonicalTime(value);
    if (canonical !== undefined) return canonical;
    context.issues.push({ code: "custom", message: "expected an RFC 3339 time", input: value });
    return z.NEVER;
  }),
};

const section = <Name extends string, T extends z.ZodType>(name: Name, element: T) =>
  z.object({
    name: about.name,
    section: z.literal(name),
    data: list(element),
    created_at: about.created_at,
  });

export const ChangeRecord = z
  .discriminatedUnion("section", [
    section("channels", Channel),
    section("certificates", Certificate),
    section("services", Service),
    section("preferences", Setting),
    section("settings", Setting),
    section("groups", text),
  ])
  .refine(
    ({ data }) => JSON.stringify(data).length <= LIMITS.data_length_max,
    `is longer than ${LIMITS.data_length_max} characters`,
  );
export type ChangeRecord = z.output<typeof ChangeRecord>;

/** Leaves room for P-256 only: a number of a larger curve has more digits (eps-protocol 8.3). */
const digits = z.string().regex(/^\d{10,100}$/, "expected 10 to 100 decimal digits");

export const Signature = z.object({
  r: digits,
  s: digits,
  c: z.string().max(LIMITS.certificate_length_max),
});
export type Signature = z.output<typeof Signature>;

export const SignedRecord = z.object({
  parent_hash: blankAs(
    "",
    z.string().regex(/^([a-f0-9]{64}|)$/, "expected 64 hex digits or nothing"),
  ),
  hash: z.string().regex(/^[a-f0-9]{64}$/, "expected 64 hex digits"),
  signature: Signature,
  record: ChangeRecord,
});
export type SignedRecord = z.output<typeof SignedRecord>;

/** Any object under a signature: what `eps sd sign` writes (eps-protocol 8.9). Its data has no normal form. */
export const SignedData = z.object({ signature: Signature, data: anyObject });
export type SignedData = z.output<typeof SignedData>;

/** The normal form of what somebody sent, or a `malformed` fault that says where it is not one. */
export function normalise<T extends z.ZodType>(
  schema: T,
  value: unknown,
  what: string,
): z.output<T> {
  const { success, data, error } = schema.safeParse(value);
  if (success) return data;
  const problems = error.issues
    .slice(0, PROBLEMS_TOLD_MAX)
    .map(({ path, message }) => (path.length > 0 ? `${path.join(".")}: ${message}` : message));
  throw new Fault("malformed", `${what} is not valid: ${problems.join("; ")}`);
}

const PROBLEMS_TOLD_MAX = 5;

/**
 * Refuses what changes on its way through JSON text. JavaScript writes -0 as 0, and programs read a
 * lone surrogate in different ways; either gives the next reader another hash than the signer's.
 */
export function refuseUnportable(value: unknown, what: string): void {
  const problem = findUnportable(value);
  if (problem)
    throw new Fault("malformed", `${what} cannot be passed on as it is: it has ${problem}`);
}

function findUnportable(value: unknown): string | undefined {
  if (typeof value === "string") return /\p{Surrogate}/u.test(value) ? "broken Unicode" : undefined;
  if (typeof value === "number") return Object.is(value, -0) ? "a negative zero" : undefined;
  if (typeof value !== "object" || value === null) return undefined;
  for (const [key, each] of Object.entries(value)) {
    const problem = findUnportable(key) ?? findUnportable(each);
    if (problem) return problem;
  }
  return undefined;
}

function isJson(value: unknown, depth: number): boolean {
  if (value === null || typeof value === "string" || typeof value === "boolean") return true;
  if (typeof value === "number") return Number.isFinite(value);
  if (typeof value !== "object" || depth === 0) return false;
  return Object.values(value).every((each) => isJson(each, depth - 1));
}

/** An optional key is there with a value or not at all. */
function withoutUndefined<T extends object>(
  value: T,
): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(
    Object.entries(value).filter(([, each]) => each !== undefined),
  ) as never;
}
