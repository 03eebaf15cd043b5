import * as z from "zod";

/** One way by which this endpoint is connected to another, as `_peers` tells it. */
export const ConnectedPeer = z.object({
  operator: z.string(),
  /** `dialled`: a connection that we opened; `reverse_out` and `reverse_in`: streams for calls the other way. */
  way: z.enum(["dialled", "reverse_out", "reverse_in"]),
  /** The proxy in between; empty if there is none. Only known of what was dialled. */
  proxy: z.string(),
  /** RFC 3339. */
  since: z.string(),
  /** Under way now. */
  calls: z.number(),
});
export type ConnectedPeer = z.infer<typeof ConnectedPeer>;
