import type { DoorSettings } from "../../relay/doors/admission.ts";
import type { PoolTerms } from "../../relay/rendezvous/pool-terms.ts";
import type { GateSettings } from "../../relay/zmtp/gate.ts";
import type { Stage } from "./roles.ts";
import type { PoolSettings, PublicProxySettings, ZeromqSettings } from "./settings.ts";

/*
 * What a public proxy or a pool takes on, in the terms of the parts that keep to it. All of it is read from the
 * settings whenever it is asked for, because settings may be loaded again while the proxy runs.
 */

export function circuitLimits(settings: PublicProxySettings | PoolSettings) {
  return {
    get circuits_max() {
      return settings.limits.circuits_max;
    },
    get idle_timeout_ms() {
      return settings.limits.idle_timeout * 1_000;
    },
    get circuit_bytes_max() {
      return settings.limits.circuit_bytes_max || Infinity;
    },
    get circuit_duration_max_ms() {
      return settings.limits.circuit_duration_max * 1_000 || Infinity;
    },
    get drain_timeout_ms() {
      return settings.limits.drain_timeout * 1_000;
    },
  };
}

/** Peers of a switch stay as long as they like: whether they are there is found out by heartbeats. */
export function peerLimits(settings: ZeromqSettings) {
  return {
    get circuits_max() {
      return settings.limits.peers_max;
    },
    idle_timeout_ms: Infinity,
    circuit_bytes_max: Infinity,
    circuit_duration_max_ms: Infinity,
    get drain_timeout_ms() {
      return settings.limits.drain_timeout * 1_000;
    },
  };
}

export function pairLimits(settings: PublicProxySettings) {
  return {
    get patience_ms() {
      return settings.accept_timeout * 1_000;
    },
    get pending_max() {
      return settings.limits.pending_max;
    },
    get pending_per_caller_max() {
      return settings.limits.pending_per_caller_max;
    },
  };
}

/** A door with its limits, at the address that it has alone or shares. */
export function door(
  settings: PublicProxySettings | PoolSettings | ZeromqSettings,
  { bind, setting }: { bind: string; setting: string },
  { share }: Pick<Stage, "share">,
): DoorSettings {
  const limits = {
    get rate_limits() {
      return settings.tcp_rate_limits;
    },
    get hello_timeout_ms() {
      return settings.limits.hello_timeout * 1_000;
    },
    get strangers_max() {
      return settings.limits.strangers_max;
    },
    get strangers_per_source_max() {
      return settings.limits.strangers_per_source_max;
    },
  };
  return Object.assign(limits, { bind, setting, share: share(setting, limits) });
}

export function poolTerms(settings: PoolSettings): PoolTerms {
  return {
    get policies() {
      return settings.policies;
    },
    get queue_max() {
      return settings.queue_max;
    },
    get patience_ms() {
      return settings.queue_timeout * 1_000;
    },
    get queue_per_source_max() {
      return settings.queue_per_source_max;
    },
    get offers_max() {
      return settings.limits.offers_max;
    },
    get offers_per_owner_max() {
      return settings.limits.offers_per_agent_max;
    },
    get needs_listener() {
      return settings.needs_listener;
    },
    get failures_max() {
      return settings.failures_max;
    },
    get rest_ms() {
      return settings.rest * 1_000;
    },
  };
}

export function gateSettings(settings: PoolSettings): GateSettings | undefined {
  if (settings.gate === "none") return undefined;
  return {
    get handshake_timeout_ms() {
      return settings.handshake_timeout * 1_000;
    },
    get failures_max() {
      return settings.handshake_failures_max;
    },
    get ban_ms() {
      return settings.ban * 1_000;
    },
  };
}
