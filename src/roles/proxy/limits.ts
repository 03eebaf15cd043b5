import type { DoorSettings } from "../../relay/doors/admission.ts";
import type { PublicProxySettings } from "./settings.ts";

/*
 * What a public proxy takes on, in the terms of the parts that keep to it. All of it is read from the
 * settings whenever it is asked for, because settings may be loaded again while the proxy runs.
 */

export function circuitLimits(settings: PublicProxySettings) {
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

export function door(
  settings: PublicProxySettings,
  { bind, setting }: { bind: string; setting: string },
): DoorSettings {
  return {
    bind,
    setting,
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
}
