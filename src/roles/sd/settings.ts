import { z } from "zod";
import { defaultTo, endpoint, optional, text } from "../../core/settings/shapes.ts";
import { JsonrpcServerSettings } from "../../rpc/settings.ts";
import { DatastoreSettings } from "../../store/settings.ts";

/** A service directory server (eps-protocol 2.6). */
export const SdSettings = z.strictObject({
  jsonrpc_server: JsonrpcServerSettings,
  directory: z.strictObject({
    datastore: DatastoreSettings,
    ca_certificate_files: z.array(text),
    ca_intermediate_certificate_files: defaultTo([], z.array(text)),
    /** Accepted because the original accepts it; there never was anything to see. */
    metrics: optional(z.strictObject({ bind_address: endpoint })),
  }),
});
export type SdSettings = z.infer<typeof SdSettings>;
