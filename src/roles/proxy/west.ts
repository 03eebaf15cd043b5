import { aborted } from "../../core/deadline.ts";
import type { Log } from "../../core/log.ts";
import type { Metrics } from "../../core/metrics.ts";
import { Scope } from "../../core/scope.ts";
import { openSite } from "../../relay/west/open.ts";
import type { Site } from "../../relay/west/site.ts";
import { Readiness } from "../../rpc/readiness.ts";
import { openStatusServer } from "../../rpc/status-server.ts";
import type { ProxySettings } from "./settings.ts";

/** A site of west: HTTP clients on one side of a tunnel, servers on the other. */
export async function runWest(
  site: Site,
  { log, metrics, status }: { log: Log; metrics: Metrics; status?: ProxySettings["metrics"] },
  signal: AbortSignal,
): Promise<void> {
  await using scope = new Scope(signal);
  const readiness = new Readiness(scope.signal);
  if (status) scope.use(await openStatusServer(status, { metrics, readiness }));
  const open = scope.use(await openSite(site, { log, metrics }));
  readiness.add("tunnels", () => {
    const { missing } = open;
    if (missing.length === 0) return undefined;
    return `there is no tunnel to ${missing.join(", ")}: start that site, or correct its address or name`;
  });
  readiness.opened();
  const { name, control, door, links, listeners } = site;
  log.info(
    { name, control, tunnels: door?.url, dials: [...links.keys()], listens: [...listeners.keys()] },
    "ready",
  );
  await aborted(scope.signal);
  log.info("stopping");
}
