import { type Command, InvalidArgumentError, Option } from "commander";
import { callMethod } from "../../roles/eps/commands/call.ts";
import { checkEndpoint } from "../../roles/eps/commands/check/check.ts";
import { listPeers } from "../../roles/eps/commands/peers.ts";
import { pingOperator } from "../../roles/eps/commands/ping.ts";
import { getEntries, getRecords, showEntry } from "../../roles/eps/commands/sd.ts";
import { signFile, verifyFile } from "../../roles/eps/commands/sign.ts";
import { diffRecords, submitRecords } from "../../roles/eps/commands/submit.ts";
import { EpsSettings } from "../../roles/eps/settings.ts";
import { addCheck, jsonFlag, perform, program, serve, show } from "../program.ts";

const source = { schema: EpsSettings, variable: "EPS_SETTINGS" };

export function epsProgram(): Command {
  const eps = program(
    "eps",
    "The endpoint server: JSON-RPC for the service beside it, gRPC with mutual TLS to its peers",
    [
      "EPS_SETTINGS=settings/dev/roles/hd-1 eps server run",
      "EPS_SETTINGS=settings/dev/roles/hd-1 eps check",
      "EPS_SETTINGS=settings/dev/roles/hd-1 eps ping hd-2 -c 3",
      "EPS_SETTINGS=settings/dev/roles/hd-1 eps sd get-entries --name hd-2",
    ],
  );
  addServer(eps);
  addCheck(eps, source, {
    looked: "settings, certificates, the directory and who can be reached",
    check: checkEndpoint,
  });
  addCalls(eps);
  addReading(addSd(eps));
  return eps;
}

function addServer(eps: Command): void {
  const server = eps.command("server").alias("s").description("the endpoint server");
  show(server, ["eps server run"]);
  const run = server
    .command("run")
    .description("serve until SIGINT or SIGTERM")
    .action(async (_, command) => {
      // What only the server needs takes as long to load as everything else together.
      const { runEndpoint } = await import("../../roles/eps/main.ts");
      await serve(command, source, runEndpoint);
    });
  show(run, [
    "EPS_SETTINGS=settings/dev/roles/hd-1 eps server run",
    "EPS_SETTINGS=settings/base:settings/prod eps --level debug server run",
  ]);
}

function addCalls(eps: Command): void {
  const call = eps
    .command("call")
    .description("call a method through the running endpoint and print the result as JSON")
    .argument("<method>", "operator and method, as in hd-2._ping")
    .argument(
      "[params]",
      "a JSON object, @file to read it from a file, or - for standard input",
      "{}",
    )
    .option("--id <id>", "the id of the call")
    .option(
      "--timeout <seconds>",
      "how long to wait; by default a little longer than call_timeout",
      seconds,
    )
    .action((method, params, flags) =>
      perform(source, (settings, signal) => callMethod(settings, method, params, flags, signal)),
    );
  show(call, [
    "eps call hd-2._ping",
    `eps call ls-1.add '{"name": "town hall"}' --timeout 5`,
    "eps call ls-1.add @location.json",
    "jq .location places.json | eps call ls-1.add -",
  ]);
  const ping = eps
    .command("ping")
    .description("call an operator's _ping, again and again, and show where the time goes")
    .argument("<operator>", "whom to ping")
    .addOption(
      new Option("-c, --count <number>", "stop after so many")
        .argParser(count)
        .default(Number.POSITIVE_INFINITY, "until Ctrl-C"),
    )
    .option("-i, --interval <seconds>", "from one ping to the next", seconds, 1)
    .addOption(jsonFlag())
    .action(async (operator, flags) => {
      let answered = true;
      await perform(source, async (settings, signal) => {
        answered = await pingOperator(settings, operator, flags, signal);
      });
      if (!answered) process.exitCode = 1;
    });
  show(
    ping,
    ["eps ping hd-2", "eps ping hd-2 -c 10 -i 0.2 --json"],
    "0 somebody answered, 1 nobody did, 2 wrong usage or settings",
  );
  const peers = eps
    .command("peers")
    .description("show who is connected to the running endpoint, by which way and since when")
    .addOption(jsonFlag())
    .action((flags) => perform(source, (settings, signal) => listPeers(settings, flags, signal)));
  show(peers, ["eps peers", "eps peers --json | jq '.[].operator'"]);
}

/** What reads the directory. */
function addReading(sd: Command): void {
  const entries = sd
    .command("get-entries")
    .description(
      "print the directory, signatures verified: a table on a terminal, otherwise a JSON array",
    )
    .option("--name <operator>", "only this operator")
    .addOption(jsonFlag())
    .action((flags) => perform(source, (settings, signal) => getEntries(settings, flags, signal)));
  show(entries, ["eps sd get-entries", "eps sd get-entries --name hd-2 | jq '.[0].groups'"]);
  const records = sd
    .command("get-records")
    .description(
      "print the signed records, verified: a table on a terminal, otherwise a JSON array",
    )
    .option(
      "--after <hash>",
      "only those behind this one, which must be there; its beginning will do",
    )
    .addOption(jsonFlag())
    .action((flags) => perform(source, (settings, signal) => getRecords(settings, flags, signal)));
  show(records, ["eps sd get-records", "eps sd get-records --after 3f0c9a2b61d4 --json"]);
  const one = sd
    .command("show")
    .description(
      "print one operator as a page: how it is reached, who may call what, and who says so",
    )
    .argument("<operator>", "whose page")
    .addOption(jsonFlag())
    .action((name, flags) =>
      perform(source, (settings, signal) => showEntry(settings, name, flags, signal)),
    );
  show(one, ["eps sd show hd-2", "eps sd show hd-2 --json"]);
  const diff = sd
    .command("diff")
    .description("print what would change if these records were submitted")
    .argument("<files...>", 'JSON files of the form {"records": [...]}')
    .option("--reset", "if they were submitted with --reset", false)
    .addOption(jsonFlag())
    .action(async (files, flags) => {
      let differs: boolean | undefined;
      await perform(source, async (settings, signal) => {
        differs = await diffRecords(settings, files, flags, signal);
      });
      process.exitCode = differs === undefined ? 2 : Number(differs);
    });
  show(
    diff,
    ["eps sd diff new-groups.json", "eps sd diff --reset settings/dev/directory/*.json"],
    "0 nothing would change, 1 something would, 2 that could not be found out",
  );
}

/** The part that writes and signs; returns the command under which all of it lives. */
function addSd(eps: Command): Command {
  const sd = eps.command("sd").description("work with the service directory");
  show(sd, ["eps sd show hd-2", "eps sd submit-records --dry-run new-groups.json"]);
  const submit = sd
    .command("submit-records")
    .description("sign change records and submit them, all or nothing")
    .argument("<files...>", 'JSON files of the form {"records": [...]}, submitted as one batch')
    .option("--reset", "start a new chain instead of continuing the present one", false)
    .option(
      "--dry-run",
      "sign and check all of it here, against the present chain, and send nothing",
      false,
    )
    .action((files, flags) =>
      perform(source, (settings, signal) => submitRecords(settings, files, flags, signal)),
    );
  show(submit, [
    "eps sd submit-records --dry-run new-groups.json",
    "eps sd submit-records --reset settings/dev/directory/*.json",
  ]);
  const sign = sd
    .command("sign")
    .description("print a JSON object with our signature")
    .argument("<file>", "a file with a JSON object")
    .action((file) => perform(source, (settings) => signFile(settings, file)));
  show(sign, ["eps sd sign statement.json > signed.json"]);
  const verify = sd
    .command("verify")
    .description("check a file that `sign` printed")
    .argument("<file>", "the signed file")
    .argument("<name>", "the operator who must have signed it")
    .action((file, name) => perform(source, (settings) => verifyFile(settings, file, name)));
  show(verify, ["eps sd verify signed.json hd-1"]);
  return sd;
}

function seconds(text: string): number {
  const value = Number(text);
  if (text.trim() !== "" && value >= 0 && value <= SECONDS_MAX) return value;
  throw new InvalidArgumentError(`expected seconds, from 0 to ${SECONDS_MAX}`);
}

function count(text: string): number {
  const value = Number(text);
  if (Number.isSafeInteger(value) && value > 0) return value;
  throw new InvalidArgumentError("expected a whole number from 1");
}

const SECONDS_MAX = 24 * 3_600;
