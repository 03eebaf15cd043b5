import { explain, Fault } from "../../../../core/fault.ts";
import { type Finding, type Findings, findingsOf } from "../../../../core/findings.ts";
import type { Entry } from "../../../../directory/entry.ts";
import { readDirectory, readReplica } from "../../../../directory/open.ts";
import type { Replica } from "../../../../directory/replica.ts";
import { SdClient } from "../../../../directory/sd-client.ts";
import type { ApiDirectorySettings, DirectorySettings } from "../../../../directory/settings.ts";
import { compareViews, type View } from "../../../../directory/views.ts";

const { ok, note, warning, problem } = findingsOf("directory");
/** Certificates and signatures tell times; a difference of seconds does not matter to them. */
const SKEW_MAX_MS = 30_000;

/** Reads the directory and compares its endpoints. Returns what it says, unless it cannot be had. */
export async function* checkDirectory(
  { type, settings }: DirectorySettings,
  signal: AbortSignal,
): AsyncGenerator<Finding, Entry[] | undefined> {
  if (type === "api") return yield* checkServers(settings, signal);
  try {
    const entries = await readDirectory({ type, settings }, signal);
    yield ok(`${settings.path} describes ${entries.length} operators, unsigned`);
    return entries;
  } catch (reason) {
    yield problem(explain(reason), "Correct the files at directory: settings: path.");
    return undefined;
  }
}

async function* checkServers(
  settings: ApiDirectorySettings,
  signal: AbortSignal,
): AsyncGenerator<Finding, Entry[] | undefined> {
  let replica: Replica;
  try {
    await using sd = await SdClient.open(settings);
    replica = await readReplica(settings, sd, signal);
    const operators = replica.entries().length;
    yield ok(`${replica.records.length} records of ${operators} operators, all signatures verify`);
    yield* tellViews(await compareViews(sd.servers, replica, signal));
  } catch (reason) {
    yield problem(explain(reason), fixFor(Fault.from(reason)));
    return undefined;
  }
  if (replica.records.length > 0) return replica.entries();
  yield problem(
    "the directory is empty",
    "Let an administrator submit its records, by `eps sd submit-records`.",
  );
  return undefined;
}

function fixFor({ fault }: Fault): string {
  switch (fault) {
    case "unreachable":
    case "timeout":
      return "Start the service directory, or correct directory: settings: endpoints, server_names and jsonrpc_client.";
    case "settings":
      return "Correct the files named in directory: settings.";
    default:
      return "Believe nothing that this server says: ask the directory's administrator, or correct directory: settings: ca_certificate_files.";
  }
}

async function* tellViews(views: readonly View[]): Findings {
  for (const view of views) yield finding(view);
  const { date } = views.find((view) => view.date !== undefined) ?? {};
  if (!date) return;
  const skew_ms = Date.now() - date.getTime();
  if (Math.abs(skew_ms) <= SKEW_MAX_MS) {
    yield ok("our clock agrees with the directory's");
    return;
  }
  const seconds = Math.round(Math.abs(skew_ms) / 1_000);
  yield warning(
    `our clock is ${seconds} s ${skew_ms > 0 ? "ahead of" : "behind"} the directory's`,
    "Synchronise the clocks of both machines, for example by NTP.",
  );
}

function finding({ endpoint, relation, ours, theirs, reason }: View): Finding {
  switch (relation) {
    case "same":
      return ok(`${endpoint} answers`);
    case "behind":
      return note(
        `${endpoint} answers and lacks the newest records; its last one is ${theirs || "none"}`,
        "If it stays so, look why this server does not learn of new records.",
      );
    case "ahead":
      return note(
        `${endpoint} answers and has newer records than the others; its last one is ${theirs}`,
        "If it stays so, the other servers hold back records.",
      );
    case "other":
      return problem(
        `${endpoint} shows another directory: its last record is ${theirs}, and ${ours} elsewhere (${reason})`,
        "Find out which of the two the administrator signed last, and take the other from the endpoints.",
      );
    case "silent":
      return warning(
        `${endpoint} does not answer: ${reason}`,
        "Start it, or take it from the endpoints.",
      );
  }
}
