import { nanoid } from "nanoid";
import { Fault } from "../../core/fault.ts";
import type { Log } from "../../core/log.ts";
import type { Metrics } from "../../core/metrics.ts";
import { Scope } from "../../core/scope.ts";
import type { ListenOptions, Share } from "../../net/listen.ts";
import { openTls } from "../../net/live-tls.ts";
import { sourceOf, unmapped } from "../../net/source.ts";
import type { AdmissionLimits } from "../doors/admission.ts";
import { Dialler } from "../tunnel/dialler.ts";
import { type Caller, openTunnelDoor } from "../tunnel/door.ts";
import { Peers } from "../tunnel/peers.ts";
import type { TunnelAgent } from "../tunnel/tunnel.ts";
import { isListed, proves, type Targets } from "./access.ts";
import { openControl } from "./control.ts";
import { WestEvents } from "./events.ts";
import { openFetcher } from "./fetcher.ts";
import { openListener } from "./listener.ts";
import type { ListenerPlan, Site } from "./site.ts";

type OpenSite = AsyncDisposable & {
  /** Names and URLs of neighbours that listeners need and that are not there. */
  readonly missing: string[];
};

type SiteDeps = {
  log: Log;
  metrics: Metrics;
  /** Where a door is, by the setting that says where, if others are at the same address. */
  share?(setting: string, limits: AdmissionLimits): Share | undefined;
};

/** A site of west: its listeners, its tunnels, and its control page. */
export async function openSite(
  site: Site,
  { log, metrics, share = () => undefined }: SiteDeps,
): Promise<OpenSite> {
  const scope = new Scope();
  const { client_timeout_ms, connections_max, connections_per_source_max } = site.limits;
  const strangers = {
    hello_timeout_ms: client_timeout_ms,
    strangers_max: connections_max,
    strangers_per_source_max: connections_per_source_max,
  };
  const at = (setting: string) => ({ setting, share: share(setting, strangers) });
  try {
    return await opened(site, scope, { log, events: new WestEvents({ log, metrics }), at });
  } catch (reason) {
    await scope[Symbol.asyncDispose]();
    throw reason;
  }
}

async function opened(
  site: Site,
  scope: Scope,
  { log, events, at }: { log: Log; events: WestEvents; at: Place },
): Promise<OpenSite> {
  const { limits } = site;
  const [named, dialled] = [new Peers(), new Peers()];
  const diallers = new Map<string, Dialler>();
  /** What serves the tunnel of a peer, for as long as it lives. */
  const fetcher = (peer: string, targets: Targets) => {
    return { ...openFetcher({ peer, targets, limits }, { events, log }), log };
  };
  if (site.control !== undefined) {
    scope.use(await openControl(site.control, site, { named, dialled }));
  }
  await openDoor(site, scope, { named, events, log, fetcher, at });
  for (const [url, plan] of site.links) {
    const secure = url.startsWith("wss:") ? plan.tls : undefined;
    const files = secure ? scope.use(await openTls(secure, { log })) : undefined;
    const dialler = new Dialler(
      {
        ...limits,
        url,
        ...plan,
        tls: files &&
          secure && {
            files,
            server_name: secure.server_name,
            skip_verify: secure.insecure_skip_verify,
          },
      },
      {
        deps: () => fetcher(url, { listed: plan.targets, from: undefined }),
        joined(tunnel) {
          dialled.add(url, tunnel);
          events.joined(url, tunnel, {});
        },
        missed: (why) => events.missed(url, why),
      },
    );
    diallers.set(url, scope.use(dialler));
  }
  const agentOf = ({ through }: ListenerPlan) => {
    return (): TunnelAgent => {
      if ("name" in through) return named.pick(through.name)?.agent ?? noWay(through.name);
      const found = dialled.pick(through.link)?.agent;
      if (found) return found;
      const dialler = diallers.get(through.link);
      dialler?.demand();
      const waits = site.links.get(through.link)?.early === false;
      return (waits ? dialler?.agent : undefined) ?? noWay(through.link);
    };
  };
  for (const [url, plan] of site.listeners) {
    const hop = `west-${nanoid(10)}`; // names no place of ours to whom it is shown
    const deps = { agent: agentOf(plan), events, log };
    const where = at(`proxy: ${url}`);
    scope.use(await openListener({ where, plan, hop }, limits, deps));
  }
  return {
    get missing() {
      const needed = [...site.listeners.values()].map(({ through }) => through);
      return needed.flatMap((through) => {
        if ("name" in through) return named.pick(through.name) ? [] : [through.name];
        const waits = site.links.get(through.link)?.early === false;
        return waits || dialled.pick(through.link) ? [] : [through.link];
      });
    },
    [Symbol.asyncDispose]: () => scope[Symbol.asyncDispose](),
  };
}

function noWay(peer: string): never {
  throw new Fault("unreachable", `there is no tunnel to ${peer}`);
}

type Place = (setting: string) => Pick<ListenOptions, "setting" | "share">;

type DoorParts = {
  at: Place;
  named: Peers;
  events: WestEvents;
  log: Log;
  fetcher(peer: string, targets: Targets): ReturnType<typeof openFetcher> & { log: Log };
};

async function openDoor(
  { name, door, limits }: Site,
  scope: Scope,
  { named, events, log, fetcher, at }: DoorParts,
): Promise<void> {
  if (!door) return;
  /** Where the tunnels of a name come from, and whether it was proved. */
  const holders = new Map<string, { source: string; proved: boolean; count: number }>();
  let tunnels = 0;
  const proved = (caller: Caller): boolean => {
    return proves(caller.name, caller, door.tokens[caller.name]);
  };
  const files = door.tls && scope.use(await openTls(door.tls, { log }));
  const settings = { ...limits, name, bind: door.bind, ...at("wsts: sp") };
  scope.use(
    await openTunnelDoor(
      { ...settings, tls: files && door.tls && { files, settings: door.tls } },
      {
        admit(caller) {
          const { address, leaf } = caller;
          if (!isListed(door.ca, { address, name: caller.name, leaf })) {
            return { status: 403, text: "You are not on the list of those who may dial in (ca)." };
          }
          const isProved = proved(caller);
          if (!isProved && Object.hasOwn(door.tokens, caller.name)) {
            return {
              status: 401,
              text: "This name needs its token, or a certificate that bears it.",
            };
          }
          const holder = holders.get(caller.name);
          if (holder && !isProved && (holder.proved || holder.source !== sourceOf(address))) {
            return {
              status: 409,
              text: "Somebody else has this name now, and nothing proves yours.",
            };
          }
          const crowded = (holder?.count ?? 0) >= limits.tunnels_per_name_max;
          if (crowded || tunnels >= limits.tunnels_max) {
            return { status: 503, text: "There are too many tunnels." };
          }
          return undefined;
        },
        deps: (caller) => {
          const listed = door.targets[caller.name] ?? door.targets["*"];
          return fetcher(caller.name, {
            listed,
            from: proved(caller) ? undefined : caller.address,
          });
        },
        joined(caller, tunnel) {
          const source = sourceOf(caller.address);
          const holder = holders.get(caller.name) ?? { source, proved: false, count: 0 };
          holders.set(caller.name, holder);
          holder.count += 1;
          holder.proved ||= proved(caller);
          tunnels += 1;
          void tunnel.link.closed.then(() => {
            holder.count -= 1;
            tunnels -= 1;
            if (holder.count === 0) holders.delete(caller.name);
          });
          named.add(caller.name, tunnel);
          events.joined(caller.name, tunnel, {
            address: unmapped(caller.address),
            port: caller.port,
          });
        },
        turnedAway: (caller, why) => events.turnedAway(caller, why),
      },
    ),
  );
}
