import * as z from "zod";
import { explain } from "../core/fault.ts";
import { normalise } from "./record.ts";
import type { Replica } from "./replica.ts";
import type { SdServer } from "./sd-client.ts";

/**
 * Do all endpoints of a service directory show the same directory?
 *
 * One server cannot forge records, but it could hold new ones back, or show two clients two validly
 * signed directories. Whoever can ask a second server notices.
 */

const ANSWER_MS = 10_000;
const Tip = z.object({ hash: z.string().max(64) }).nullish();

/** What one endpoint shows, compared with a verified copy. Hashes are "" where there is no record. */
export type View = {
  endpoint: string;
  /** `other`: its records neither lead to ours nor on from ours. `silent`: no usable answer. */
  relation: "same" | "behind" | "ahead" | "other" | "silent";
  ours: string;
  theirs: string;
  reason: string;
  /** The time of the server. */
  date: Date | undefined;
};

/** Asks every endpoint for its last record. A server that claims more than we have must prove it. */
export async function compareViews(
  servers: readonly SdServer[],
  replica: Replica,
  signal: AbortSignal,
): Promise<View[]> {
  return await Promise.all(servers.map((server) => compare(server, replica, signal)));
}

async function compare(server: SdServer, replica: Replica, signal: AbortSignal): Promise<View> {
  const ours = replica.copy(); // ours may go on while we wait for theirs
  const view: View = {
    endpoint: server.endpoint,
    relation: "silent",
    ours: ours.after,
    theirs: "",
    reason: "",
    date: undefined,
  };
  const options = { signal, timeout_ms: ANSWER_MS };
  try {
    const { result, date } = await server.exchange("getTip", {}, options);
    view.date = date;
    view.theirs = normalise(Tip, result, "the answer to getTip")?.hash ?? "";
    if (view.theirs === view.ours) return { ...view, relation: "same" };
    if (view.theirs === "" || has(ours, view.theirs)) return { ...view, relation: "behind" };
    const more = await server.call("getRecords", { after: view.ours }, options);
    return { ...view, ...(await judge(ours, view, more)) };
  } catch (reason) {
    return { ...view, reason: explain(reason) };
  }
}

async function judge(
  copy: Replica,
  { ours, theirs }: View,
  answer: unknown,
): Promise<Pick<View, "relation" | "reason">> {
  try {
    await copy.update(answer);
  } catch (reason) {
    return { relation: "other", reason: explain(reason) };
  }
  if (ours !== "" && !has(copy, ours)) {
    return { relation: "other", reason: "it shows a directory that began anew" };
  }
  if (has(copy, theirs)) return { relation: "ahead", reason: "" };
  return { relation: "other", reason: "it does not show the records up to its last one" };
}

function has({ records }: Replica, hash: string): boolean {
  return records.some((each) => each.hash === hash);
}

/**
 * Remembers what endpoints showed, to tell of each disagreement once. Servers of one directory learn
 * of a record one after the other, so only what lasts from one look to the next counts.
 */
export class ViewWatch {
  readonly #last = new Map<string, View>();
  readonly #told = new Map<string, string>();

  /** The views that somebody should hear of now. */
  news(views: readonly View[]): View[] {
    return views.filter((view) => {
      if (view.relation === "silent") return false;
      const { endpoint, relation, theirs } = view;
      const last = this.#last.get(endpoint);
      this.#last.set(endpoint, view);
      if (relation === "same" || relation === "behind") {
        this.#told.delete(endpoint);
        return false;
      }
      const lasts = last?.relation === relation && (relation === "other" || last.theirs === theirs);
      if (!lasts || this.#told.get(endpoint) === theirs) return false;
      this.#told.set(endpoint, theirs);
      return true;
    });
  }
}
