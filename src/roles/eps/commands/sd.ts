import { readFile } from "node:fs/promises";
import { z } from "zod";
import { Fault } from "../../../core/fault.ts";
import { openTrust } from "../../../directory/certificates.ts";
import { readDirectory } from "../../../directory/open.ts";
import { SdClient } from "../../../directory/sd-client.ts";
import { openSigner, type Signer, verifyData } from "../../../directory/sign.ts";
import type { JsonObject } from "../../../wire/json.ts";
import { now } from "../../../wire/timestamp.ts";
import type { EpsSettings } from "../settings.ts";

const RecordsFile = z.object({ records: z.array(z.record(z.string(), z.json())) });
const Tip = z.object({ hash: z.string(), record: z.object({ created_at: z.string() }) }).nullish();

/** Prints the entries as this endpoint sees them: read, verified, in order of their names. */
export async function getEntries(
  settings: EpsSettings,
  { name }: { name?: string },
  signal: AbortSignal,
): Promise<void> {
  const entries = (await readDirectory(settings.directory, signal))
    .filter((entry) => name === undefined || entry.name === name)
    .sort((a, b) => a.name.localeCompare(b.name));
  if (name !== undefined && entries.length === 0) {
    throw new Fault("not_found", `the directory has no entry for ${name}`);
  }
  print(entries);
}

/**
 * Signs the records of all files, each behind the one before it, and submits them as one batch,
 * which the directory accepts whole or not at all. `created_at` becomes the present, always later
 * than that of the record before.
 */
export async function submitRecords(
  settings: EpsSettings,
  files: string[],
  { reset }: { reset: boolean },
  signal: AbortSignal,
): Promise<void> {
  if (settings.directory.type !== "api") {
    throw new Fault("settings", "a json directory cannot be written to; directory needs type api");
  }
  const signer = await signerOf(settings);
  const changes = (await Promise.all(files.map(readRecords))).flat();
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
  await sd.call("submitRecords", { records: records as unknown as JsonObject[] }, { signal });
  for (const { hash, record } of records) {
    process.stdout.write(`${hash}  ${record.section.padEnd(12)}  ${record.name}\n`);
  }
  process.stdout.write(`${records.length} records accepted\n`);
}

export async function signFile(settings: EpsSettings, file: string): Promise<void> {
  const signer = await signerOf(settings);
  print(signer.signData(await readObject(file)));
}

export async function verifyFile(
  { signing }: EpsSettings,
  file: string,
  name: string,
): Promise<void> {
  if (!signing?.ca_certificate_file) throw missing("signing: ca_certificate_file");
  const trust = await openTrust(
    [signing.ca_certificate_file],
    signing.ca_intermediate_certificate_files,
  );
  await verifyData(await readObject(file), name, trust);
  process.stdout.write(`signed by ${name}, and nothing was changed since\n`);
}

async function signerOf({ name, signing }: EpsSettings): Promise<Signer> {
  const { certificate_file, key_file, ca_certificate_file } = signing ?? {};
  if (!signing || !certificate_file || !key_file || !ca_certificate_file) {
    throw missing("signing: certificate_file, key_file, ca_certificate_file");
  }
  const { ca_intermediate_certificate_files } = signing;
  return await openSigner({
    name,
    certificate_file,
    key_file,
    ca_certificate_file,
    ca_intermediate_certificate_files,
  });
}

function missing(what: string): Fault {
  return new Fault("settings", `these settings cannot sign: they lack ${what}`);
}

async function readRecords(file: string): Promise<JsonObject[]> {
  const { success, data } = RecordsFile.safeParse(await readObject(file));
  if (success) return data.records as JsonObject[];
  throw new Fault("malformed", `${file} is not of the form {"records": [{…}, …]}`);
}

async function readObject(file: string): Promise<JsonObject> {
  try {
    return z
      .record(z.string(), z.json())
      .parse(JSON.parse(await readFile(file, "utf8"))) as JsonObject;
  } catch (cause) {
    const why =
      (cause as NodeJS.ErrnoException).code === "ENOENT" ? "does not exist" : "is no JSON object";
    throw new Fault("malformed", `${file} ${why}`, { cause });
  }
}

function print(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}
