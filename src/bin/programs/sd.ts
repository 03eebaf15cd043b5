import type { Command } from "commander";
import { checkSd } from "../../roles/sd/check.ts";
import { runDirectory } from "../../roles/sd/main.ts";
import { SdSettings } from "../../roles/sd/settings.ts";
import { addCheck, program, serve, show } from "../program.ts";

const source = { schema: SdSettings, variable: "SD_SETTINGS" };

export function sdProgram(): Command {
  const sd = program(
    "sd",
    "The service directory: signed records of who exists, how to reach them and who may call what",
    ["SD_SETTINGS=settings/dev/roles/sd-1 sd run", "SD_SETTINGS=settings/dev/roles/sd-1 sd check"],
  );
  const run = sd
    .command("run")
    .description("serve the directory until SIGINT or SIGTERM")
    .action((_, command) => serve(command, source, runDirectory));
  show(run, [
    "SD_SETTINGS=settings/dev/roles/sd-1 sd run",
    "SD_SETTINGS=settings/base:settings/prod sd --level debug run",
  ]);
  addCheck(sd, source, { looked: "settings, certificates and the store", check: checkSd });
  return sd;
}
