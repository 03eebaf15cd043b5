import { Fault } from "../core/fault.ts";
import type { Log } from "../core/log.ts";
import { openFileStore } from "./file.ts";
import type { DatastoreSettings } from "./settings.ts";
import type { Store } from "./store.ts";

/** Opens the datastore that settings name. */
export async function openStore(datastore: DatastoreSettings, deps: { log: Log }): Promise<Store> {
  if (datastore.type === "file") return await openFileStore(datastore.settings, deps);
  throw new Fault(
    "settings",
    `datastore: this version keeps its data in a file; write type "file" with settings: filename`,
  );
}
