import { type Log, silent } from "../core/log.ts";
import { openTrust } from "./certificates.ts";
import type { Directory } from "./directory.ts";
import type { Entry } from "./entry.ts";
import type { DirectoryEvents } from "./events.ts";
import { Replica } from "./replica.ts";
import { SdClient } from "./sd-client.ts";
import type { DirectorySettings } from "./settings.ts";
import { openApiDirectory } from "./sources/api.ts";
import { openJsonDirectory } from "./sources/json.ts";

/** Reads the directory that settings name once, verifies it and lets go of it again. */
export async function readDirectory(
  { type, settings }: DirectorySettings,
  signal: AbortSignal,
): Promise<Entry[]> {
  if (type === "json") {
    await using directory = await openJsonDirectory(settings, { log: silent });
    return directory.entries();
  }
  const { ca_certificate_files, ca_intermediate_certificate_files } = settings;
  const trust = await openTrust(ca_certificate_files, ca_intermediate_certificate_files);
  const replica = new Replica(trust);
  await using sd = await SdClient.open(settings);
  await replica.update(await sd.call("getRecords", { after: replica.after }, { signal }));
  return replica.entries();
}

/** Opens the directory that settings name, and keeps it up to date. */
export async function openDirectory(
  { type, settings }: DirectorySettings,
  deps: { log: Log; events?: DirectoryEvents },
): Promise<Directory> {
  return type === "api"
    ? await openApiDirectory(settings, deps)
    : await openJsonDirectory(settings, deps);
}
