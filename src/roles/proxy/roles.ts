import { aborted } from "../../core/deadline.ts";
import type { Log } from "../../core/log.ts";
import type { Metrics } from "../../core/metrics.ts";
import { Scope } from "../../core/scope.ts";
import type { Share } from "../../net/listen.ts";
import type { AdmissionLimits } from "../../relay/doors/admission.ts";
import { SharedPort } from "../../relay/doors/shared.ts";
import { RelayEvents } from "../../relay/events.ts";
import { RpcEvents } from "../../rpc/events.ts";
import { type Check, Readiness } from "../../rpc/readiness.ts";
import { openStatusServer } from "../../rpc/status-server.ts";
import type { Beginning } from "../../wire/beginning.ts";
import { sharedDoors } from "./doors.ts";
import type { ProxySettings } from "./settings.ts";

/** What roles have in common that one process plays. What they open belongs to the scope. */
export type Stage = {
  readonly log: Log;
  readonly metrics: Metrics;
  readonly events: RelayEvents;
  readonly rpc: RpcEvents;
  readonly scope: Scope;
  /** The program is not ready while this says why. */
  check(name: string, check: Check): void;
  /** The place of a door at an address that others are at too, by the setting that names it. */
  share(setting: string, limits: AdmissionLimits): Share | undefined;
};

/** A role whose doors are open. */
export type Playing = {
  /** What the log says of it now, and when it stops. */
  readonly ready: object;
  stopping?(): object;
  /** Rejects if it cannot go on. */
  readonly broken?: Promise<unknown>;
};

export type Role = (stage: Stage) => Promise<Playing>;

/** Plays roles in one process until the signal aborts. `settings` has a section for each. */
export async function playRoles(
  roles: ReadonlyMap<string, Role>,
  settings: Partial<ProxySettings>,
  { log, metrics }: { log: Log; metrics: Metrics },
  signal: AbortSignal,
): Promise<void> {
  await using scope = new Scope(signal);
  const events = new RelayEvents({ log, metrics });
  const rpc = new RpcEvents({ log, metrics });
  const readiness = new Readiness(scope.signal);
  const { metrics: status } = settings;
  if (status) scope.use(await openStatusServer(status, { metrics, readiness }));
  const alone = roles.size === 1;
  const share = shareOf(settings, events);
  const playing = new Map<string, Playing>();
  for (const [name, role] of roles) {
    const check: Stage["check"] = (what, find) =>
      readiness.add(alone ? what : `${name}: ${what}`, find);
    playing.set(name, await role({ log, metrics, events, rpc, scope, check, share }));
  }
  const told = (of: (each: Playing) => object): object => {
    const all = [...playing].map(([name, each]) => (alone ? of(each) : { [name]: of(each) }));
    return Object.assign({}, ...all);
  };
  readiness.opened();
  log.info(
    told(({ ready }) => ready),
    "ready",
  );
  const broken = [...playing.values()].flatMap((each) => each.broken ?? []);
  await Promise.race([aborted(scope.signal), ...broken]);
  log.info(
    told((each) => each.stopping?.() ?? {}),
    "stopping",
  );
}

/** Which place at a port each door has whose address is that of others too. */
function shareOf(settings: Partial<ProxySettings>, events: RelayEvents): Stage["share"] {
  const places = new Map<string, { port: SharedPort; begins: Beginning }>();
  for (const [address, doors] of sharedDoors(settings)) {
    const port = new SharedPort(address, events);
    for (const { setting, begins } of doors) if (begins) places.set(setting, { port, begins });
  }
  return (setting, limits) => {
    const place = places.get(setting);
    return place?.port.share(place.begins, limits);
  };
}
