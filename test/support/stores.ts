import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { DatastoreSettings } from "../../src/store/settings.ts";
import { startRedis } from "./redis.ts";

/** Somewhere a store can be opened, closed and opened again. */
export type Place = { settings: DatastoreSettings; clear(): Promise<void> };

export const stores: Array<{
  name: string;
  needs: string[];
  /** Whether it still has everything when it is opened again. */
  lasts: boolean;
  place: () => Promise<Place>;
}> = [
  {
    name: "file",
    needs: [],
    lasts: true,
    async place() {
      const folder = await mkdtemp(join(tmpdir(), "store-"));
      return {
        settings: { type: "file", settings: { filename: join(folder, "entries") } },
        clear: () => rm(folder, { recursive: true }),
      };
    },
  },
  {
    name: "redis",
    needs: ["redis-server"],
    lasts: true,
    async place() {
      const { address, clear } = await startRedis([
        "appendonly yes",
        "appendfsync always",
        'save ""',
      ]);
      const settings = { password: "", database: 0, key: "entries", master_name: "" };
      return {
        settings: { type: "redis", settings: { ...settings, addresses: [address] } },
        clear,
      };
    },
  },
  {
    name: "memory",
    needs: [],
    lasts: false,
    place: async () => ({ settings: { type: "memory", settings: {} }, clear: async () => {} }),
  },
];
