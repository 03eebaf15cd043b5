import type { Command } from "commander";
import { Fault } from "../../core/fault.ts";
import { checkProxies } from "../../roles/proxy/check.ts";
import { runPrivateProxy } from "../../roles/proxy/private.ts";
import { runPublicProxy } from "../../roles/proxy/public.ts";
import { ProxySettings } from "../../roles/proxy/settings.ts";
import { addCheck, program, serve, show } from "../program.ts";

const source = { schema: ProxySettings, variable: "PROXY_SETTINGS" };

export function proxyProgram(): Command {
  const proxy = program(
    "proxy",
    "The broker: brings together two endpoints that cannot reach each other, and never sees inside",
    [
      "PROXY_SETTINGS=settings/dev/roles/public-proxy-1 proxy run public",
      "PROXY_SETTINGS=settings/dev/roles/private-proxy-1 proxy run private",
      "PROXY_SETTINGS=settings/dev/roles/public-proxy-1 proxy check",
    ],
  );
  const run = proxy.command("run").description("run a proxy until SIGINT or SIGTERM");
  show(run, ["proxy run public", "proxy run private"]);
  const publicly = run
    .command("public")
    .description("the proxy that everybody can dial")
    .action((_, command) =>
      serve(command, source, async (settings, deps, signal) => {
        const { public: own } = settings;
        if (!own) throw new Fault("settings", 'the settings have no section "public"');
        deps.mayDrain(() => own.limits.drain_timeout * 1_000);
        await runPublicProxy(own, { ...deps, status: settings.metrics }, signal);
      }),
    );
  show(publicly, ["PROXY_SETTINGS=settings/dev/roles/public-proxy-1 proxy run public"]);
  const privately = run
    .command("private")
    .description(
      "the proxy inside an organisation, which announces domains and fetches what comes for them",
    )
    .action((_, command) =>
      serve(command, source, async (settings, deps, signal) => {
        if (!settings.private)
          throw new Fault("settings", 'the settings have no section "private"');
        await runPrivateProxy(settings.private, { ...deps, status: settings.metrics }, signal);
      }),
    );
  show(privately, ["PROXY_SETTINGS=settings/dev/roles/private-proxy-1 proxy run private"]);
  addCheck(proxy, source, { looked: "settings, certificates and the store", check: checkProxies });
  return proxy;
}
