#!/usr/bin/env node
import { getEntries, signFile, submitRecords, verifyFile } from "../roles/eps/commands/sd.ts";
import { runEndpoint } from "../roles/eps/main.ts";
import { EpsSettings } from "../roles/eps/settings.ts";
import { perform, program, serve } from "./program.ts";

const source = { schema: EpsSettings, variable: "EPS_SETTINGS" };
const eps = program(
  "eps",
  "The endpoint server: JSON-RPC for the service beside it, gRPC with mutual TLS to its peers",
  `  EPS_SETTINGS=settings/dev/roles/hd-1 eps server run
  EPS_SETTINGS=settings/dev/roles/hd-1 eps sd get-entries --name hd-2
  EPS_SETTINGS=settings/dev/roles/hd-1 eps sd submit-records --reset settings/dev/directory/*.json`,
);

const server = eps.command("server").alias("s").description("the endpoint server");
server
  .command("run")
  .description("serve until SIGINT or SIGTERM")
  .action((_, command) => serve(command, source, runEndpoint));

const sd = eps.command("sd").description("work with the service directory");
sd.command("get-entries")
  .description("print the directory as a JSON array, signatures verified")
  .option("--name <operator>", "only this operator")
  .action((flags) => perform(source, (settings, signal) => getEntries(settings, flags, signal)));
sd.command("submit-records")
  .description("sign change records and submit them, all or nothing")
  .argument("<files...>", 'JSON files of the form {"records": [...]}, submitted as one batch')
  .option("--reset", "start a new chain instead of continuing the present one", false)
  .action((files, flags) =>
    perform(source, (settings, signal) => submitRecords(settings, files, flags, signal)),
  );
sd.command("sign")
  .description("print a JSON object with our signature")
  .argument("<file>", "a file with a JSON object")
  .action((file) => perform(source, (settings) => signFile(settings, file)));
sd.command("verify")
  .description("check a file that `sign` printed")
  .argument("<file>", "the signed file")
  .argument("<name>", "the operator who must have signed it")
  .action((file, name) => perform(source, (settings) => verifyFile(settings, file, name)));

await eps.parseAsync();
