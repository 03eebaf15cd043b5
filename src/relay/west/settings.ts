import * as z from "zod";
import {
  defaultsOf,
  defaultTo,
  optional,
  rule,
  seconds,
  text,
  wholeNumber,
} from "../../core/settings/shapes.ts";
import { TlsSettings } from "../../net/settings.ts";
import { formatEndpoint } from "../../wire/endpoint.ts";
import { isWestName } from "../../wire/west.ts";
import { isCaEntry, isTarget } from "./access.ts";
import type { ListenerPlan, Site } from "./site.ts";

/*
 * The configuration of west as its original reads it (seed-systems 1.3), and what we add to it. Unlike
 * elsewhere a key that nobody knows is a mistake and no warning, because it is one to the original.
 */

export const LISTENER_PORT = 18_889;
const COUNT_MAX = 1_000_000;
const MIB = 1024 * 1024;

const name = text.refine(isWestName, {
  error: "expected a name such as ws://site.example, without blanks",
});
const token = text.refine((value) => /^[\x21-\x7e]{8,512}$/.test(value), {
  error: "expected a token of at least 8 visible characters",
});
const clients = defaultTo(
  [],
  z.array(
    text.refine((entry) => isCaEntry(entry, false), {
      error: "expected an IP address or a CIDR such as 10.0.0.0/8",
    }),
  ),
);
const tunnelClients = defaultTo(
  [],
  z.array(
    text.refine((entry) => isCaEntry(entry, true), {
      error:
        "expected an IP address, a CIDR, a name such as ws://*.example, or sha256: and a fingerprint",
    }),
  ),
);
const targets = z.array(
  text.refine(isTarget, {
    error: 'expected a host, host:port, an IP address, a CIDR, or "*"',
  }),
);
const control = text.refine((value) => addressOf(value) !== undefined, {
  error: 'expected host:port such as "127.0.0.1:9701" or ":9701"',
});

/** Ours. */
const Limits = z.strictObject({
  timeout: defaultTo(30, seconds(0.1, 3_600)),
  client_timeout: defaultTo(60, seconds(0.1, 3_600)),
  connect_timeout: defaultTo(5, seconds(0.1, 60)),
  ping_interval: defaultTo(15, seconds(0.05, 3_600)),
  /** Of tunnels; 1 is the original's. */
  version_max: defaultTo(2, wholeNumber(1, 2)),
  streams_max: defaultTo(256, wholeNumber(1, COUNT_MAX)),
  message_max: defaultTo(32 * MIB, wholeNumber(1_024, 1_024 * MIB)),
  /** 0 is no limit. */
  body_max: defaultTo(0, wholeNumber(0, Number.MAX_SAFE_INTEGER)),
  tunnels_max: defaultTo(1_000, wholeNumber(1, COUNT_MAX)),
  tunnels_per_name_max: defaultTo(8, wholeNumber(1, COUNT_MAX)),
  connections_max: defaultTo(10_000, wholeNumber(1, COUNT_MAX)),
  connections_per_source_max: defaultTo(1_000, wholeNumber(1, COUNT_MAX)),
});

const Self = z.strictObject({ nm: name, cp: optional(control), limits: defaultsOf(Limits) });

const Door = z.strictObject({
  sp: optional(text.refine(isTunnelUrl, { error: "expected an address such as ws://host:9801" })),
  ca: tunnelClients,
  tls: optional(TlsSettings),
  tokens: defaultTo({}, z.record(z.string(), token)),
  targets: defaultTo({}, z.record(z.string(), targets)),
});

const Link = z.strictObject({
  nm: optional(name),
  ee: defaultTo("yes", z.enum(["yes", "no"])),
  token: optional(token),
  tls: optional(TlsSettings),
  targets: optional(targets),
});

const Route = z.strictObject({
  ou: text.refine(isHttpUrl, {
    error: "expected the address of an HTTP server such as http://127.0.0.1:8080/x",
  }),
  ca: clients,
});

/** `ea` or `en`, and one key for each path. */
const Listener = z
  .object({ ea: optional(text), en: optional(name) })
  .catchall(Route)
  .check(
    rule((value, complain) => {
      const { ea, en, ...routes } = value as Record<string, unknown>;
      if ((ea === undefined) === (en === undefined)) {
        complain(
          [],
          "needs exactly one of ea (the tunnel server to leave by) and en (the tunnel client)",
        );
      }
      if (typeof ea === "string" && !isTunnelUrl(ea)) {
        complain(["ea"], "expected the address of a tunnel server such as ws://host:9801");
      }
      for (const key of Object.keys(routes)) {
        if (!key.startsWith("/"))
          complain([key], "is none of ea, en and a path that begins with /");
      }
    }),
  );

const KEYS = ["west", "wsts", "wstc", "proxy"];

const Configuration = z
  .looseObject({
    west: Self,
    wsts: defaultsOf(Door),
    wstc: defaultTo({}, z.record(z.string(), Link)),
    proxy: defaultTo({}, z.record(z.string(), Listener)),
  })
  .check(
    rule((value, complain) => {
      const { wsts, wstc, proxy } = value as Record<string, Record<string, unknown> | undefined>;
      for (const key of Object.keys(value as object)) {
        if (!KEYS.includes(key)) complain([key], `is none of ${KEYS.join(", ")}`);
      }
      if (String(wsts?.["sp"] ?? "").startsWith("wss:") && !wsts?.["tls"]) {
        complain(["wsts", "tls"], "is missing: wss:// needs a certificate_file and a key_file");
      }
      for (const key of Object.keys(wstc ?? {})) {
        if (!isTunnelUrl(key)) complain(["wstc", key], "expected a key such as ws://host:9801");
      }
      for (const key of Object.keys(proxy ?? {})) {
        if (addressOf(key, LISTENER_PORT)?.host) continue;
        complain(["proxy", key], "expected a key such as http://127.0.0.1:8080, with a host");
      }
    }),
  );

/** A configuration of the original as it is, made into what is to be done. */
export const WestSettings = Configuration.transform(siteOf);

function siteOf({ west, wsts, wstc, proxy }: z.output<typeof Configuration>): Site {
  const { limits, nm, cp } = west;
  const link = (plan: z.output<typeof Link> | undefined) => ({
    name: plan?.nm ?? nm,
    early: (plan?.ee ?? "yes") === "yes",
    token: plan?.token,
    tls: plan?.tls,
    targets: plan?.targets,
  });
  const links = new Map(Object.entries(wstc).map(([url, plan]) => [url, link(plan)]));
  const listeners = new Map<string, ListenerPlan>();
  for (const [url, { ea, en, ...routes }] of Object.entries(proxy)) {
    if (ea !== undefined && !links.has(ea)) links.set(ea, link(undefined));
    listeners.set(url, {
      bind: bindOf(url, LISTENER_PORT),
      through: ea === undefined ? { name: en ?? "" } : { link: ea },
      routes: new Map(Object.entries(routes).map(([path, { ou, ca }]) => [path, { url: ou, ca }])),
    });
  }
  const { timeout, client_timeout, connect_timeout, ping_interval, body_max, ...counts } = limits;
  return {
    name: nm,
    control: cp && bindOf(cp),
    door: wsts.sp
      ? {
          url: wsts.sp,
          bind: bindOf(wsts.sp),
          tls: wsts.sp.startsWith("wss:") ? wsts.tls : undefined,
          ca: wsts.ca,
          tokens: wsts.tokens,
          targets: wsts.targets,
        }
      : undefined,
    links,
    listeners,
    limits: {
      ...counts,
      timeout_ms: timeout * 1_000,
      client_timeout_ms: client_timeout * 1_000,
      connect_timeout_ms: connect_timeout * 1_000,
      ping_interval_ms: ping_interval * 1_000,
      body_max: body_max || Number.POSITIVE_INFINITY,
    },
  };
}

/** `:9701`, `host:5`, `[::1]:5`, and the same in an URL (seed-systems 1.3). */
export function addressOf(text: string, port?: number): { host: string; port: number } | undefined {
  const [, bracketed, plain = "", digits] =
    /^(?:[a-z]+:\/\/)?(?:\[([\da-fA-F:.]+)\]|([^\s:/[\]]*))(?::(\d{1,5}))?(?:\/\S*)?$/i.exec(
      text,
    ) ?? [];
  const number = digits === undefined ? port : Number(digits);
  if (number === undefined || number > 65_535) return undefined;
  return { host: bracketed ?? plain, port: number };
}

function bindOf(text: string, port?: number): string {
  return formatEndpoint(addressOf(text, port) ?? { host: "", port: 0 });
}

function isTunnelUrl(text: string): boolean {
  return /^wss?:\/\//.test(text) && URL.canParse(text) && addressOf(text) !== undefined;
}

function isHttpUrl(text: string): boolean {
  return /^http:\/\/[^\s/?#@]+/.test(text) && URL.canParse(text) && !text.includes("#");
}
