import * as z from "zod";
import { defaultsOf, defaultTo, endpoint, text, wholeNumber } from "../core/settings/shapes.ts";

/** Where an append-only log is kept (eps-protocol 2.5). */
export const DatastoreSettings = z.discriminatedUnion("type", [
  z.strictObject({
    type: z.literal("file"),
    settings: z.strictObject({ filename: text }),
  }),
  z.strictObject({
    type: z.literal("redis"),
    settings: z.strictObject({
      addresses: z.array(endpoint).min(1, "expected at least one address"),
      /** May be empty, which means none, but must be written down. */
      password: z.string(),
      database: defaultTo(0, wholeNumber(0, Number.MAX_SAFE_INTEGER)),
      key: defaultTo("entries", z.string()),
      /** The sentinels' name for the master; empty if there are no sentinels. */
      master_name: defaultTo("", z.string()),
    }),
  }),
  z.strictObject({
    type: z.literal("memory"),
    settings: defaultsOf(z.strictObject({})),
  }),
]);
export type DatastoreSettings = z.infer<typeof DatastoreSettings>;
