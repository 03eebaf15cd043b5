import { routeTo } from "../../../broker/route.ts";
import { Fault } from "../../../core/fault.ts";
import { printJson, printLines, table, visible } from "../../../core/terminal.ts";
import type { AppliedRecord, Entry } from "../../../directory/entry.ts";
import { readDirectory, readReplica } from "../../../directory/open.ts";
import { SdClient } from "../../../directory/sd-client.ts";
import { compareViews } from "../../../directory/views.ts";
import type { EpsSettings } from "../settings.ts";
import { signerOf } from "./describe.ts";
import { entryPage } from "./page.ts";

type Listing = { json: boolean };

/**
 * Prints the entries as this endpoint sees them: read, verified, in order of their names. A table on
 * a terminal; elsewhere, and with `json`, one line of JSON as the original prints it.
 */
export async function getEntries(
  settings: EpsSettings,
  { name, json }: Listing & { name?: string },
  signal: AbortSignal,
): Promise<void> {
  const entries = (await readDirectory(settings.directory, signal))
    .filter((entry) => name === undefined || entry.name === name)
    .sort((a, b) => a.name.localeCompare(b.name));
  if (name !== undefined && entries.length === 0) throw nobody(name);
  if (asTable(json)) printLines(entriesTable(entries));
  else printJson(entries);
}

/** One operator on a page, or its entry as one line of JSON. */
export async function showEntry(
  settings: EpsSettings,
  name: string,
  { json }: Listing,
  signal: AbortSignal,
): Promise<void> {
  const entries = await readDirectory(settings.directory, signal);
  const entry = entries.find((each) => each.name === name);
  if (!entry) throw nobody(name);
  if (json) printJson(entry);
  else printLines(entryPage(entry, entries));
}

/**
 * Prints the signed records, oldest first, each verified behind the one before; with `after` only
 * those behind that one. A server that does not show that record any more has rolled back, and other
 * endpoints that show other records are warned of.
 */
export async function getRecords(
  settings: EpsSettings,
  { after = "", json }: Listing & { after?: string },
  signal: AbortSignal,
): Promise<void> {
  if (settings.directory.type !== "api") {
    throw new Fault("settings", "a json directory has no signed records; see get-entries");
  }
  await using sd = await SdClient.open(settings.directory.settings);
  const replica = await readReplica(settings.directory.settings, sd, signal);
  const { records } = replica;
  const shown = records.slice(positionAfter(after, records));
  if (asTable(json)) printLines(recordsTable(shown, records.length - shown.length));
  else printJson(shown);
  if (sd.servers.length === 1) return;
  for (const { endpoint, relation, ...view } of await compareViews(sd.servers, replica, signal)) {
    if (relation !== "other") continue;
    process.stderr.write(
      `warning: ${endpoint} shows another directory: its last record is ${view.theirs}, here it is ${view.ours} (${view.reason})\n`,
    );
  }
}

export function entriesTable(entries: readonly Entry[]): string[] {
  const head = ["operator", "groups", "reached", "services", "certificates", "records"];
  const rows = entries.map((entry) => [
    visible(entry.name),
    visible(entry.groups.join(", ")) || "–",
    reached(entry),
    visible(entry.services.map(({ name }) => name).join(", ")) || "–",
    String(entry.certificates.length),
    String(entry.records.length),
  ]);
  return table(head, rows);
}

/** `skipped` records lie before those that are shown. Hashes are shortened; `--after` takes them so. */
export function recordsTable(records: readonly AppliedRecord[], skipped: number): string[] {
  const head = ["record", "signed", "by", "section", "operator", "hash"];
  const rows = records.map((each, index) => [
    String(skipped + index + 1),
    each.record.created_at,
    signerOf(each),
    each.record.section,
    visible(each.record.name),
    each.hash.slice(0, SHORT_HASH),
  ]);
  return table(head, rows);
}

const SHORT_HASH = 16;

function reached(entry: Entry): string {
  const route = routeTo(entry);
  if (!route) return "by its reverse streams";
  const { address, proxy, internal } = route;
  if (internal) return "not from outside";
  return visible(proxy ? `through ${proxy}` : address);
}

/** How many records lie before those that are asked for. */
export function positionAfter(after: string, records: readonly { hash: string }[]): number {
  if (after === "") return 0;
  const [index, ...more] = [...records.keys()].filter((i) => records[i]?.hash.startsWith(after));
  if (more.length > 0) {
    throw new Fault("malformed", `several records begin with ${after}; give more of the hash`);
  }
  if (index !== undefined) return index + 1;
  throw new Fault(
    "conflict",
    `the directory has no record ${after}: if it once had, the server rolled back, began anew or shows another directory`,
  );
}

function asTable(json: boolean): boolean {
  return process.stdout.isTTY === true && !json;
}

function nobody(name: string): Fault {
  return new Fault("not_found", `the directory has no entry for ${name}`);
}
