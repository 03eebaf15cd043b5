import type { TlsSettings } from "../../net/settings.ts";

/** What one process of west is to do, as its configuration says, checked and with everything filled in. */
export type Site = {
  name: string;
  /** `host:port` of the control page. */
  control: string | undefined;
  /** Where other sites dial in. */
  door: DoorPlan | undefined;
  /** Where we dial, by URL. */
  links: ReadonlyMap<string, LinkPlan>;
  /** Where HTTP clients come in, by URL. */
  listeners: ReadonlyMap<string, ListenerPlan>;
  limits: SiteLimits;
};

type DoorPlan = {
  url: string;
  bind: string;
  tls: TlsSettings | undefined;
  /** Who may dial in; empty is everybody. */
  ca: readonly string[];
  /** Names that need a proof, and the token that is one. */
  tokens: Readonly<Record<string, string>>;
  /** What tunnels may ask for, by name or `*`. */
  targets: Readonly<Record<string, readonly string[]>>;
};

type LinkPlan = {
  name: string;
  early: boolean;
  token: string | undefined;
  tls: TlsSettings | undefined;
  targets: readonly string[] | undefined;
};

export type ListenerPlan = {
  bind: string;
  /** Through the tunnel that we dialled, or through the one that somebody of this name dialled. */
  through: { link: string } | { name: string };
  routes: ReadonlyMap<string, RoutePlan>;
};

export type RoutePlan = {
  /** What the other side is asked for. */
  url: string;
  /** Who may ask; empty is everybody. */
  ca: readonly string[];
};

export type SiteLimits = {
  /** Until an answer begins, and of silence in it. */
  timeout_ms: number;
  /** How long a client may be silent when it is its turn, or stay idle. */
  client_timeout_ms: number;
  connect_timeout_ms: number;
  ping_interval_ms: number;
  version_max: number;
  /** Requests of one side of a tunnel at the same time. */
  streams_max: number;
  /** Bytes of a message of version 1. */
  message_max: number;
  /** Bytes of a request's body. */
  body_max: number;
  /** Tunnels that others dialled, in all and of one name. */
  tunnels_max: number;
  tunnels_per_name_max: number;
  connections_max: number;
  connections_per_source_max: number;
};
