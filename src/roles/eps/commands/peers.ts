import * as z from "zod";
import { ConnectedPeer } from "../../../broker/connected-peer.ts";
import { printJson, printLines, table, visible } from "../../../core/terminal.ts";
import type { EpsSettings } from "../settings.ts";
import { callOnce } from "./call.ts";

const Answer = z.object({ peers: z.array(ConnectedPeer) });

/** Prints who is connected to the running endpoint, by which way and since when. */
export async function listPeers(
  settings: EpsSettings,
  { json }: { json: boolean },
  signal: AbortSignal,
): Promise<void> {
  const call = { method: `${settings.name}._peers`, params: {} };
  const { peers } = Answer.parse(await callOnce(settings, call, {}, signal));
  if (json) printJson(peers);
  else printLines(peersTable(peers));
}

const WAYS: Record<ConnectedPeer["way"], string> = {
  dialled: "dialled",
  reverse_out: "reverse stream that we keep there",
  reverse_in: "reverse stream that it keeps here",
};

export function peersTable(peers: readonly ConnectedPeer[]): string[] {
  if (peers.length === 0) return ["nobody is connected"];
  const rows = peers.map(({ operator, way, proxy, since, calls }) => [
    visible(operator),
    proxy ? `${WAYS[way]} through ${visible(proxy)}` : WAYS[way],
    since,
    String(calls),
  ]);
  return table(["operator", "way", "since", "calls"], rows);
}
