import * as z from "zod";
import type { Entry } from "../directory/entry.ts";

/** How an operator's gRPC server is reached, as its directory entry says (eps-protocol 3.7). */
export type Route = { address: string; internal: boolean; proxy: string };

const RouteForm = z.object({
  address: z.string().min(1),
  internal: z
    .boolean()
    .nullish()
    .transform((value) => value ?? false),
  proxy: z
    .string()
    .nullish()
    .transform((value) => value ?? ""),
});

/** Undefined if the entry has no gRPC server, or one whose settings make no sense. */
export function routeTo(entry: Entry | undefined): Route | undefined {
  const channel = entry?.channels.find(({ type }) => type === "grpc_server");
  return channel && RouteForm.safeParse(channel.settings).data;
}

/**
 * Must we keep a reverse stream to `other`, so that it can reach us? Yes if its groups may call
 * something of ours, it can be dialled directly, and it could not dial us by itself.
 */
export function needsReverseStream(
  own: Entry,
  other: Entry,
  callers: ReadonlySet<string>,
): boolean {
  const theirs = routeTo(other);
  if (other.name === own.name || !theirs || theirs.internal || theirs.proxy !== "") return false;
  if (!callers.has("*") && !other.groups.some((group) => callers.has(group))) return false;
  const ours = routeTo(own);
  const dialable = ours !== undefined && !ours.internal && ours.proxy === "";
  return !(dialable && other.channels.some(({ type }) => type === "grpc_client"));
}
