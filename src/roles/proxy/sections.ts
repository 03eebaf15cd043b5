import { Fault } from "../../core/fault.ts";
import type { Log } from "../../core/log.ts";
import type { Metrics } from "../../core/metrics.ts";
import type { Lifetime } from "../../core/run.ts";
import { openPrivateProxy } from "./private.ts";
import { openPublicProxy } from "./public.ts";
import { playRoles, type Role } from "./roles.ts";
import type { ProxySettings } from "./settings.ts";

/** What a proxy can be. */
export const SECTIONS = ["public", "private", "pools", "west", "zeromq"] as const;
export type Section = (typeof SECTIONS)[number];

type Deps = { log: Log; metrics: Metrics; mayDrain: Lifetime["mayDrain"] };

/** Runs a proxy that is everything that its settings have a section for, until the signal aborts. */
export async function runSections(
  settings: Partial<ProxySettings>,
  { log, metrics, mayDrain }: Deps,
  signal: AbortSignal,
): Promise<void> {
  if (settings.public && settings.private) {
    const message = "public and private are the two sides of a wall: run each of them by itself";
    throw new Fault("settings", message);
  }
  mayDrain(() => {
    const { public: own, pools = [], zeromq } = settings;
    const all = [own, ...pools, zeromq].map((each) => each?.limits.drain_timeout ?? 0);
    return Math.max(...all) * 1_000;
  });
  await playRoles(rolesOf(settings), settings, { log, metrics }, signal);
}

/** The roles that there are sections for. What only some of them need is loaded with them. */
function rolesOf(settings: Partial<ProxySettings>): Map<Section, Role> {
  const { public: own, private: inner, pools, pools_control, west, zeromq } = settings;
  const roles = new Map<Section, Role>();
  if (own) roles.set("public", (stage) => openPublicProxy(own, stage));
  if (inner) roles.set("private", (stage) => openPrivateProxy(inner, stage));
  if (pools)
    roles.set("pools", async (stage) =>
      (await import("./pools.ts")).openPools(pools, pools_control, stage),
    );
  if (west) roles.set("west", async (stage) => (await import("./west.ts")).openWest(west, stage));
  if (zeromq)
    roles.set("zeromq", async (stage) => (await import("./zeromq.ts")).openZeromq(zeromq, stage));
  return roles;
}
