import { readFile } from "node:fs/promises";
import * as z from "zod";
import { Fault } from "../../../core/fault.ts";
import { printJson } from "../../../core/terminal.ts";
import { openTrust } from "../../../directory/certificates.ts";
import { openSigner, type Signer, verifyData } from "../../../directory/sign.ts";
import type { JsonObject } from "../../../wire/json.ts";
import type { EpsSettings } from "../settings.ts";

export async function signFile(settings: EpsSettings, file: string): Promise<void> {
  const signer = await signerFor(settings);
  printJson(signer.signData(await readObject(file)));
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

/** Whoever the settings say signs; a fault that names what they lack. */
export async function signerFor({ name, signing }: EpsSettings): Promise<Signer> {
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

export async function readObject(file: string): Promise<JsonObject> {
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
