import * as z from "zod";
import { defaultTo, endpoint, optional, text } from "../../core/settings/shapes.ts";
import { JsonrpcServerSettings } from "../../rpc/settings.ts";
import { DatastoreSettings } from "../../store/settings.ts";

const Metrics = z.strictObject({ bind_address: endpoint });

/** A service directory server (eps-protocol 2.6). */
export const SdSettings = z.strictObject({
  jsonrpc_server: JsonrpcServerSettings,
  directory: z.strictObject({
    datastore: DatastoreSettings,
    ca_certificate_files: z.array(text),
    ca_intermediate_certificate_files: defaultTo([], z.array(text)),
    /** Where the original takes it, without effect. Here it counts if the other is absent. */
    metrics: optional(Metrics),
  }),
  metrics: optional(Metrics),
});
export type SdSettings = z.infer<typeof SdSettings>;
