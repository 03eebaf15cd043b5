import type { Log } from "../core/log.ts";
import { openFileStore } from "./file.ts";
import { openMemoryStore } from "./memory.ts";
import type { DatastoreSettings } from "./settings.ts";
import type { Store } from "./store.ts";

/** Opens the datastore that settings name. */
export async function openStore(datastore: DatastoreSettings, deps: { log: Log }): Promise<Store> {
  if (datastore.type === "file") return await openFileStore(datastore.settings, deps);
  if (datastore.type === "memory") return openMemoryStore();
  // Its library takes longer to load than everything else together.
  const { openRedisStore } = await import("./redis.ts");
  return await openRedisStore(datastore.settings, deps);
}
