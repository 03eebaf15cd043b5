import { existsSync } from "node:fs";
import { join } from "node:path";
import { Fault } from "../../core/fault.ts";
import { Scope } from "../../core/scope.ts";
import type { Answer } from "../../wire/answer.ts";
import { isObject, type JsonObject } from "../../wire/json.ts";
import { makeCertificates } from "./certificates.ts";
import { warnAboutExpiry } from "./expiry.ts";
import type { LogLine } from "./processes.ts";
import { heading, say, step } from "./steps.ts";
import { Town } from "./town.ts";

const ROLES = ["sd-1", "public-proxy-1", "public-proxy-eps-1", "hd-1", "hd-2"];
/** The port of hd-1's JSON-RPC server in its settings. */
export const GATEWAY = 5555;

/** Shows the main job: hd-1 pings hd-2, whom it cannot dial, through the public proxy. */
export async function demo(
  settings: string,
  { keep }: { keep: boolean },
  signal: AbortSignal,
): Promise<void> {
  await using scope = new Scope(signal);
  const town = await startTown(settings, ROLES, { keep, scope });
  await step("hd-2 keeps a stream to the proxy's endpoint", () =>
    town.said("public-proxy-eps-1", "connected with hd-2", ({ msg, operator }) => {
      return msg === "reverse stream accepted" && operator === "hd-2";
    }),
  );
  const answer = await step("hd-1 pinged hd-2 through the proxy", () => ping(town));
  heading("The answer");
  say(JSON.stringify(shorten(answer), null, 2));

  if (keep) {
    heading("The circuit, as the proxy tells it while it is open");
    say(story(await circuit(town, "circuit open")));
    town.leaveRunning();
    return explainKept(town);
  }
  await step("hd-1 stopped, so that the circuit ends", () => town.stop("hd-1"));
  const ended = await circuit(town, "circuit ended");
  heading("The circuit, as the proxy tells it");
  say(story(ended));
  say();
  await step("everything stopped", () => scope[Symbol.asyncDispose]());
}

/** A town in which these roles run and know each other. The scope owns it. */
export async function startTown(
  settings: string,
  roles: readonly string[],
  { keep, scope }: { keep: boolean; scope: Scope },
): Promise<Town> {
  const town = scope.use(await Town.found(settings, { keep, signal: scope.signal }));
  await certify(town);
  for (const role of roles) await step(`${role} is ready`, () => town.start(role));
  await step("directory signed, submitted and accepted", () => town.setUp());
  return town;
}

/** Uses the certificates that came with the settings, or makes some that last as long as the town. */
async function certify(town: Town): Promise<void> {
  const { certs, directory } = town;
  if (existsSync(certs)) return await warnAboutExpiry(certs, say);
  await step("certificates made", () =>
    makeCertificates({ certs, directory }, { keys: "ecdsa", force: false }, () => {}),
  );
}

async function ping(town: Town): Promise<Answer> {
  const request = { method: "hd-2._ping", id: "1" };
  const answer = await town.call({ role: "hd-1", port: GATEWAY }, request);
  if ("error" in answer) throw new Fault("failed", `hd-2 did not answer: ${answer.error.message}`);
  return answer;
}

/** The proxy's line about the circuit between the two, and not about one to its own endpoint. */
async function circuit(town: Town, msg: string): Promise<LogLine> {
  return await town.said("public-proxy-1", `done with the circuit`, (line) => {
    return line.msg === msg && line["caller"] === "hd-1" && line["callee"] === "hd-2";
  });
}

const TOLD = [
  "circuit",
  "door",
  "caller",
  "callee",
  "ending",
  "by",
  "waited_ms",
  "lasted_ms",
  "bytes_from_caller",
  "bytes_from_callee",
];

export function story(line: LogLine): string {
  return TOLD.filter((field) => field in line)
    .map((field) => `  ${field.padEnd(18)} ${line[field]}`)
    .join("\n");
}

/** The ping's result carries two whole directory entries; what matters here is whose they are. */
function shorten(answer: Answer): JsonObject {
  const result = "result" in answer && isObject(answer.result) ? answer.result : {};
  const name = (entry: unknown): JsonObject =>
    isObject(entry) ? { name: entry["name"] ?? null, groups: entry["groups"] ?? null } : {};
  const params = isObject(result["params"]) ? result["params"] : {};
  const client = isObject(params["_client"]) ? params["_client"] : {};
  return {
    jsonrpc: "2.0",
    result: {
      ...result,
      params: { _client: { name: client["name"] ?? null, entry: name(client["entry"]) } },
      serverInfo: name(result["serverInfo"]),
    },
    id: "1",
  };
}

function explainKept(town: Town): void {
  const { certs } = town;
  const port = town.port(GATEWAY);
  heading("Everything keeps running. Try next:");
  say(`
  curl --cert ${certs}/hd-1.crt --key ${certs}/hd-1.key --cacert ${certs}/root.crt \\
    --resolve hd-1:${port}:127.0.0.1 https://hd-1:${port}/jsonrpc \\
    --header "Content-Type: application/json" \\
    --data '{"method": "hd-2._ping", "id": "1", "params": {}, "jsonrpc": "2.0"}'

  EPS_SETTINGS=${town.settings("hd-1")} npx eps sd get-entries --name hd-2

  tail -f ${join(town.folder, "logs", "public-proxy-1.log")}

Stop and remove it all:

  kill ${ROLES.map((role) => town.program(role).pid).join(" ")} && rm -r ${town.folder}
`);
}
