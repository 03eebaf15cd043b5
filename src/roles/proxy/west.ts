import { letGarbageWait } from "../../core/heap.ts";
import { openSite } from "../../relay/west/open.ts";
import type { Site } from "../../relay/west/site.ts";
import type { Playing, Stage } from "./roles.ts";

/** A site of west: HTTP clients on one side of a tunnel, servers on the other. */
export async function openWest(
  site: Site,
  { log, metrics, scope, check, share }: Stage,
): Promise<Playing> {
  letGarbageWait();
  const open = scope.use(await openSite(site, { log, metrics, share }));
  check("tunnels", () => {
    const { missing } = open;
    if (missing.length === 0) return undefined;
    return `there is no tunnel to ${missing.join(", ")}: start that site, or correct its address or name`;
  });
  const { name, control, door, links, listeners } = site;
  const [dials, listens] = [[...links.keys()], [...listeners.keys()]];
  return { ready: { name, control, tunnels: door?.url, dials, listens } };
}
