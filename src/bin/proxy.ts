#!/usr/bin/env node
import { Fault } from "../core/fault.ts";
import { runPublicProxy } from "../roles/proxy/public.ts";
import { ProxySettings } from "../roles/proxy/settings.ts";
import { program, serve } from "./program.ts";

const proxy = program(
  "proxy",
  "The broker: brings together two endpoints that cannot reach each other, and never sees inside",
  "  PROXY_SETTINGS=settings/dev/roles/public-proxy-1 proxy run public",
);
const run = proxy.command("run").description("run a proxy until SIGINT or SIGTERM");
run
  .command("public")
  .description("the proxy that everybody can dial")
  .action((_, command) =>
    serve(
      command,
      { schema: ProxySettings, variable: "PROXY_SETTINGS" },
      async (settings, deps, signal) => {
        if (!settings.public) throw new Fault("settings", 'the settings have no section "public"');
        await runPublicProxy(settings.public, { ...deps, metrics: settings.metrics }, signal);
      },
    ),
  );
await proxy.parseAsync();
