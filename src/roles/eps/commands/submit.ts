import * as z from "zod";
import { Fault } from "../../../core/fault.ts";
import { printJson, printLines, styled, visible } from "../../../core/terminal.ts";
import { openTrust } from "../../../directory/certificates.ts";
import type { Entry } from "../../../directory/entry.ts";
import { fold } from "../../../directory/fold.ts";
import { Ledger } from "../../../directory/ledger.ts";
import { readDirectory } from "../../../directory/open.ts";
import { ChangeRecord, normalise, type SignedRecord } from "../../../directory/record.ts";
import { SdClient } from "../../../directory/sd-client.ts";
import type { ApiDirectorySettings } from "../../../directory/settings.ts";
import type { JsonObject } from "../../../wire/json.ts";
import { now } from "../../../wire/timestamp.ts";
import type { EpsSettings } from "../settings.ts";
import { type Difference, differences } from "./difference.ts";
import { readObject, signerFor } from "./sign.ts";

const RecordsFile = z.object({ records: z.array(z.record(z.string(), z.json())) });
const Tip = z.object({ hash: z.string(), record: z.object({ created_at: z.string() }) }).nullish();

/**
 * Signs the records of all files, each behind the one before it, and submits them as one batch,
 * which the directory accepts whole or not at all. `created_at` becomes the present, always later
 * than that of the record before. A dry run holds the batch against the directory's rules and its
 * present records here, and sends nothing.
 */
export async function submitRecords(
  settings: EpsSettings,
  files: string[],
  { reset, dryRun }: { reset: boolean; dryRun: boolean },
  signal: AbortSignal,
): Promise<void> {
  if (settings.directory.type !== "api") {
    throw new Fault("settings", "a json directory cannot be written to; directory needs type api");
  }
  const signer = await signerFor(settings);
  const changes = await readChanges(files);
  await using sd = await SdClient.open(settings.directory.settings);
  const tip = Tip.parse(await sd.call("getTip", {}, { signal }));
  let parent = reset ? "" : (tip?.hash ?? "");
  let created_at = tip?.record.created_at;
  const records = changes.map((change) => {
    created_at = now(created_at);
    const record = signer.sign({ ...change, created_at }, parent);
    parent = record.hash;
    return record;
  });
  if (dryRun) await propose(records, settings.directory.settings, sd, signal);
  else await sd.call("submitRecords", { records: records as unknown as JsonObject[] }, { signal });
  printLines(
    records.map(({ hash, record }) => `${hash}  ${record.section.padEnd(12)}  ${record.name}`),
  );
  printLines([
    dryRun
      ? `${records.length} records would be accepted; nothing was sent`
      : `${records.length} records accepted`,
  ]);
}

/**
 * Prints what the directory would say after these records and does not say now. Tells whether there
 * is any difference.
 */
export async function diffRecords(
  settings: EpsSettings,
  files: string[],
  { reset, json }: { reset: boolean; json: boolean },
  signal: AbortSignal,
): Promise<boolean> {
  const changes = await readChanges(files);
  const records = changes.map((change, index) => {
    const record = normalise(
      ChangeRecord,
      { ...change, created_at: now() },
      `record ${index + 1} of the files`,
    );
    return { parent_hash: "", hash: "", signature: null, record };
  });
  const entries = await readDirectory(settings.directory, signal);
  const present = new Map(entries.map((entry) => [entry.name, entry]));
  const base: ReadonlyMap<string, Entry> = reset ? new Map() : present;
  const found = differences(present, fold(base, records));
  if (json) printJson(found.map(({ lines: _, ...difference }) => difference));
  else printLines(found.flatMap(differenceLines));
  return found.length > 0;
}

export function differenceLines({ operator, operator_is, section, lines }: Difference): string[] {
  const whole = operator_is === "changed" ? "" : ` (${operator_is})`;
  const colours = { "-": "red", "+": "green" } as const;
  return [
    styled("bold", `${visible(operator)}${whole}: ${section}`),
    ...lines.map((line) => {
      const colour = colours[line[0] as keyof typeof colours];
      return `  ${colour ? styled(colour, line) : line}`;
    }),
  ];
}

/** Exactly what the directory does with a batch, but for records that it stores and does not show. */
async function propose(
  batch: SignedRecord[],
  settings: ApiDirectorySettings,
  sd: SdClient,
  signal: AbortSignal,
): Promise<void> {
  const trust = await openTrust(
    settings.ca_certificate_files,
    settings.ca_intermediate_certificate_files,
  );
  const present = z.array(z.unknown()).nullish();
  const stored = present.parse(await sd.call("getRecords", { after: "" }, { signal })) ?? [];
  const ledger = await Ledger.open(trust, stored, (reason) => {
    throw new Fault("conflict", `the directory server's records cannot be used: ${reason}`);
  });
  await ledger.propose(batch);
}

async function readChanges(files: string[]): Promise<JsonObject[]> {
  return (await Promise.all(files.map(readRecords))).flat();
}

async function readRecords(file: string): Promise<JsonObject[]> {
  const { success, data } = RecordsFile.safeParse(await readObject(file));
  if (success) return data.records as JsonObject[];
  throw new Fault("malformed", `${file} is not of the form {"records": [{…}, …]}`);
}
