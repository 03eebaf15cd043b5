import { constants } from "node:fs";
import { access, stat } from "node:fs/promises";
import { dirname, normalize } from "node:path";
import { explain } from "../core/fault.ts";
import { type Finding, findingsOf } from "../core/findings.ts";
import { silent } from "../core/log.ts";
import { countEntries } from "./file.ts";
import { openStore } from "./open.ts";
import type { DatastoreSettings } from "./settings.ts";

const { ok, note, problem } = findingsOf("store");

/** Can the datastore be used, and read to its end? Changes nothing, also while a program has it open. */
export async function checkStore(datastore: DatastoreSettings): Promise<Finding> {
  switch (datastore.type) {
    case "memory":
      return note(
        "the datastore is in memory and forgets everything at a stop",
        "Use type file or redis for what should last.",
      );
    case "redis":
      return await checkRedis(datastore);
    case "file":
      return await checkFile(normalize(datastore.settings.filename));
  }
}

async function checkFile(filename: string): Promise<Finding> {
  const fix = "Make the file and its folder readable and writable for the user of this program.";
  try {
    const there = await stat(filename).catch(() => undefined);
    if (!there) {
      const folder = await nearestFolder(dirname(filename));
      if (!(await stat(folder)).isDirectory()) throw new Error(`${folder} is no folder`);
      await access(folder, constants.W_OK);
      return note(`${filename} does not exist yet and will be made`);
    }
    await access(filename, constants.R_OK | constants.W_OK);
    await access(dirname(filename), constants.W_OK);
  } catch (reason) {
    return problem(`${filename} cannot be used: ${explain(reason)}`, fix);
  }
  try {
    return ok(`${filename} can be read (entries: ${await countEntries(filename)})`);
  } catch (reason) {
    return problem(explain(reason), "Restore the file from a backup before you start the program.");
  }
}

async function nearestFolder(folder: string): Promise<string> {
  const exists = await stat(folder).then(
    () => true,
    () => false,
  );
  return exists || folder === dirname(folder) ? folder : nearestFolder(dirname(folder));
}

async function checkRedis(datastore: DatastoreSettings & { type: "redis" }): Promise<Finding> {
  const { addresses, key } = datastore.settings;
  try {
    await using store = await openStore(datastore, { log: silent });
    const { length } = await store.read();
    return ok(`redis ${addresses.join(", ")} can be read at ${key} (entries: ${length})`);
  } catch (reason) {
    return problem(explain(reason), "Start that Redis, or correct datastore: settings.");
  }
}
