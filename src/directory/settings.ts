import * as z from "zod";
import { defaultTo, optional, text, webAddress, wholeNumber } from "../core/settings/shapes.ts";
import { TlsSettings } from "../net/settings.ts";
import { JsonrpcClientSettings } from "../rpc/settings.ts";

const CACHE_MAX_S = 3_600;

/** A service directory asked over JSON-RPC (eps-protocol 2.4). */
export const ApiDirectorySettings = z.strictObject({
  endpoints: z.array(webAddress).min(1, "expected at least one address"),
  server_names: z.array(text).min(1, "expected at least one name"),
  /** Seconds. */
  cache_entries_for: defaultTo(5, wholeNumber(0, CACHE_MAX_S)),
  jsonrpc_client: JsonrpcClientSettings.extend({ tls: TlsSettings }),
  /** Whose signatures under records count. One certificate a file. */
  ca_certificate_files: z.array(text),
  ca_intermediate_certificate_files: defaultTo([], z.array(text)),
});
export type ApiDirectorySettings = z.infer<typeof ApiDirectorySettings>;

export const DirectorySettings = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("api"), settings: ApiDirectorySettings }),
  /** A file of records, or a folder of such files, unsigned and read-only. */
  z.strictObject({ type: z.literal("json"), settings: z.strictObject({ path: text }) }),
]);
export type DirectorySettings = z.infer<typeof DirectorySettings>;

/** Whose key signs the records that `eps sd submit-records` sends. */
export const SigningSettings = z.strictObject({
  name: optional(z.string()),
  ca_certificate_file: optional(z.string()),
  ca_intermediate_certificate_files: defaultTo([], z.array(text)),
  certificate_file: optional(z.string()),
  key_file: optional(z.string()),
});
export type SigningSettings = z.infer<typeof SigningSettings>;
