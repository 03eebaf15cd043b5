#!/usr/bin/env node
import { Fault } from "../core/fault.ts";
import { runPrivateProxy } from "../roles/proxy/private.ts";
import { runPublicProxy } from "../roles/proxy/public.ts";
import { ProxySettings } from "../roles/proxy/settings.ts";
import { program, serve } from "./program.ts";

const proxy = program(
  "proxy",
  "The broker: brings together two endpoints that cannot reach each other, and never sees inside",
  "  PROXY_SETTINGS=settings/dev/roles/public-proxy-1 proxy run public\n  PROXY_SETTINGS=settings/dev/roles/private-proxy-1 proxy run private",
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
        const { public: proxy } = settings;
        if (!proxy) throw new Fault("settings", 'the settings have no section "public"');
        deps.mayDrain(() => proxy.limits.drain_timeout * 1_000);
        await runPublicProxy(proxy, { ...deps, status: settings.metrics }, signal);
      },
    ),
  );
run
  .command("private")
  .description(
    "the proxy inside an organisation, which announces domains and fetches what comes for them",
  )
  .action((_, command) =>
    serve(
      command,
      { schema: ProxySettings, variable: "PROXY_SETTINGS" },
      async (settings, deps, signal) => {
        if (!settings.private)
          throw new Fault("settings", 'the settings have no section "private"');
        await runPrivateProxy(settings.private, { ...deps, status: settings.metrics }, signal);
      },
    ),
  );
await proxy.parseAsync();
