import * as z from "zod";
import { instant } from "../../wire/timestamp.ts";

const text = z
  .string()
  .nullish()
  .transform((value) => value ?? "");

/** The caller of a method, as the endpoint beside the proxy knows it (eps-protocol 6.6). */
export const Client = z.object({
  name: z.string().min(1),
  entry: z.looseObject({
    name: z.string(),
    channels: z.array(z.looseObject({ type: z.string() })),
    settings: z
      .array(
        z.object({
          operator: text,
          service: text,
          environment: text,
          settings: z.record(z.string(), z.json()),
        }),
      )
      .nullish(),
  }),
});
export type Client = z.output<typeof Client>;

/** A host name as it can stand in a ClientHello. */
export const Domain = z
  .string()
  .max(253)
  .regex(/^([a-zA-Z0-9][a-zA-Z0-9-]{0,62}\.)*[a-zA-Z0-9][a-zA-Z0-9-]{0,62}$/, "expected a domain");

const WEEK_NS = 7n * 86_400n * 1_000_000_000n;

/** When an announcement ends: RFC 3339, at most a week ahead; null for no end. */
export const ExpiresAt = z
  .string()
  .nullish()
  .transform((value) => value || null)
  .refine(
    (value) => value === null || isSoon(value),
    "timed announcements need to expire in 7 days or less",
  );

function isSoon(time: string): boolean {
  try {
    return instant(time) <= BigInt(Date.now()) * 1_000_000n + WEEK_NS;
  } catch {
    return false;
  }
}
