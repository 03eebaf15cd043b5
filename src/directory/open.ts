import type { Log } from "../core/log.ts";
import type { Directory } from "./directory.ts";
import type { DirectorySettings } from "./settings.ts";
import { openApiDirectory } from "./sources/api.ts";
import { openJsonDirectory } from "./sources/json.ts";

/** Opens the directory that settings name. */
export async function openDirectory(
  { type, settings }: DirectorySettings,
  deps: { log: Log },
): Promise<Directory> {
  return type === "api"
    ? await openApiDirectory(settings, deps)
    : await openJsonDirectory(settings, deps);
}
