import * as z from "zod";
import { ChannelsSettings } from "../../broker/settings.ts";
import { live } from "../../core/settings/live.ts";
import { defaultTo, endpoint, optional, seconds, text } from "../../core/settings/shapes.ts";
import { DirectorySettings, SigningSettings } from "../../directory/settings.ts";

/** An endpoint server (eps-protocol 2.1). */
export const EpsSettings = z.strictObject({
  /** The operator we are. */
  name: text,
  directory: DirectorySettings,
  channels: ChannelsSettings,
  metrics: optional(z.strictObject({ bind_address: endpoint })),
  /** Only `eps sd` needs it. */
  signing: live(optional(SigningSettings)),
  /** How long a call may take before its caller is told that nobody answered. Ours. */
  call_timeout: live(defaultTo(60, seconds(0.1, 3_600))),
  /** How long a service that has acknowledged a call may take to respond, and its caller waits. Ours. */
  respond_timeout: live(defaultTo(600, seconds(0.1, 7 * 24 * 3_600))),
});
export type EpsSettings = z.infer<typeof EpsSettings>;
