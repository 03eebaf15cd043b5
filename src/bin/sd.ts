#!/usr/bin/env node
import { runDirectory } from "../roles/sd/main.ts";
import { SdSettings } from "../roles/sd/settings.ts";
import { program, serve } from "./program.ts";

const sd = program(
  "sd",
  "The service directory: signed records of who exists, how to reach them and who may call what",
  "  SD_SETTINGS=settings/dev/roles/sd-1 sd run\n  SD_SETTINGS=settings/base:settings/prod sd --level debug run",
);
sd.command("run")
  .description("serve the directory until SIGINT or SIGTERM")
  .action((_, command) =>
    serve(command, { schema: SdSettings, variable: "SD_SETTINGS" }, runDirectory),
  );
await sd.parseAsync();
