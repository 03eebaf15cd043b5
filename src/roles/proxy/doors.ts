import type { Site } from "../../relay/west/site.ts";
import type { Beginning } from "../../wire/beginning.ts";
import { formatEndpoint, parseEndpoint } from "../../wire/endpoint.ts";

/** Of settings, what says where there are doors. */
type Sections = {
  readonly public?: { tls_bind_address: string; internal_bind_address: string } | undefined;
  readonly pools?: readonly Pool[] | undefined;
  readonly west?: Site | undefined;
  readonly zeromq?: Switch | undefined;
};

type Pool = {
  name: string;
  data_bind_address: string;
  command_bind_address: string;
  client_bind_address: string;
  worker_bind_address?: string | undefined;
  tls?: unknown;
  gate: "none" | "curve";
};

type Switch = {
  proxy_ports: string;
  host: string;
  internal_host: string;
  tls_bind_address?: string | undefined;
};

export type DoorPlace = {
  readonly path: readonly PropertyKey[];
  /** What the door is called in messages. */
  readonly setting: string;
  readonly bind: string;
  /** How those begin who come to it; undefined if they may do that anyhow, or wait to be spoken to. */
  readonly begins: Beginning | undefined;
};

const THREE_PORTS = /^\s*(\d{1,5})\s*,\s*(\d{1,5})\s*,\s*(\d{1,5})\s*$/;

/** Port numbers of a switch, in the order of `proxy_ports`; undefined if these are none. */
export function portsOf(
  proxy_ports: string,
): Record<"responder" | "publisher" | "internal", number> | undefined {
  const [, responder = 0, publisher = 0, internal = 0] = (THREE_PORTS.exec(proxy_ports) ?? []).map(
    Number,
  );
  const all = [responder, publisher, internal];
  const fit = THREE_PORTS.test(proxy_ports) && all.every((port) => port < 65_536);
  return fit ? { responder, publisher, internal } : undefined;
}

/** Whether both public ports of a switch are one. */
export function isOnePort(proxy_ports: string): boolean {
  const { responder = 0, publisher = 0 } = portsOf(proxy_ports) ?? {};
  return responder > 0 && responder === publisher;
}

/** All doors of these settings but those that are for whoever runs this proxy. */
function doorsOf({ public: own, pools, west, zeromq }: Sections): DoorPlace[] {
  return [
    ...(own ? publicDoors(own) : []),
    ...(pools ?? []).flatMap(poolDoors),
    ...(west ? westDoors(west) : []),
    ...(zeromq ? zeromqDoors(zeromq) : []),
  ];
}

function publicDoors({
  tls_bind_address,
  internal_bind_address,
}: NonNullable<Sections["public"]>): DoorPlace[] {
  const place = (key: string, bind: string, begins: Beginning): DoorPlace => {
    return { path: ["public", key], setting: `public: ${key}`, bind, begins };
  };
  return [
    place("tls_bind_address", tls_bind_address, "tls"),
    place("internal_bind_address", internal_bind_address, "token"),
  ];
}

/** Agents speak first, by TLS if there is any; clients and workers do if they are ZeroMQ peers. */
function poolDoors(pool: Pool, index: number): DoorPlace[] {
  const place = (key: string, bind: string | undefined, begins?: Beginning): DoorPlace[] => {
    const setting = `pools: ${pool.name}: ${key}`;
    return bind ? [{ path: ["pools", index, key], setting, bind, begins }] : [];
  };
  const peers = pool.gate === "curve" ? "zmtp" : undefined;
  return [
    ...place("data_bind_address", pool.data_bind_address, pool.tls ? "tls" : "relayserver"),
    // An original says nothing here.
    ...place("command_bind_address", pool.command_bind_address, pool.tls ? "tls" : undefined),
    ...place("client_bind_address", pool.client_bind_address, peers),
    ...place("worker_bind_address", pool.worker_bind_address, peers),
  ];
}

function westDoors({ door, listeners }: Site): DoorPlace[] {
  const dialled: DoorPlace[] = [...listeners].map(([url, { bind }]) => {
    return { path: ["west", "proxy", url], setting: `proxy: ${url}`, bind, begins: "http" };
  });
  if (!door) return dialled;
  const begins = door.tls ? "tls" : "http";
  return [
    { path: ["west", "wsts", "sp"], setting: "wsts: sp", bind: door.bind, begins },
    ...dialled,
  ];
}

function zeromqDoors({ proxy_ports, host, internal_host, ...own }: Switch): DoorPlace[] {
  const path = ["zeromq", "proxy_ports"];
  const names = ["responder", "publisher", "internal"] as const;
  const ports = portsOf(proxy_ports);
  const doors = names
    .filter((name) => name !== "publisher" || !isOnePort(proxy_ports))
    .map((name): DoorPlace => {
      const at = { host: name === "internal" ? internal_host : host, port: ports?.[name] ?? 0 };
      const setting = `zeromq: proxy_ports: ${name}`;
      return { path, setting, bind: formatEndpoint(at), begins: "zmtp" };
    });
  const { tls_bind_address: bind } = own;
  if (!bind) return doors;
  const setting = "zeromq: tls_bind_address";
  return [...doors, { path: ["zeromq", "tls_bind_address"], setting, bind, begins: "tls" }];
}

/** Doors that share an address, by that address. Port 0 is another one each time. */
export function sharedDoors(sections: Sections): ReadonlyMap<string, DoorPlace[]> {
  const byAddress = new Map<string, DoorPlace[]>();
  for (const door of doorsOf(sections)) {
    const { host, port } = parseEndpoint(door.bind);
    const address = formatEndpoint({ host: HOSTS[host] ?? host, port });
    if (port > 0) byAddress.set(address, [...(byAddress.get(address) ?? []), door]);
  }
  return new Map([...byAddress].filter(([, doors]) => doors.length > 1));
}

/** Hosts that mean the same although they are written differently. Every interface has no name. */
const HOSTS: Readonly<Record<string, string>> = {
  localhost: "127.0.0.1",
  "0.0.0.0": "",
  "::": "",
};

const HOW: Record<Beginning, string> = {
  tls: "with TLS",
  zmtp: "as ZeroMQ does",
  relayserver: "as agents do",
  http: "with HTTP",
  token: "with a token",
};

/** Complains of doors at one address that nobody could tell apart by what is said there first. */
export function checkShared(
  sections: Sections,
  complain: (path: readonly PropertyKey[], message: string) => void,
): void {
  for (const [address, doors] of sharedDoors(sections)) {
    for (const [index, { path, begins }] of doors.entries()) {
      const others = doors.slice(0, index);
      const other = others.find((each) => !begins || !each.begins || each.begins === begins);
      if (!other) continue;
      const why =
        begins && other.begins
          ? `whoever comes begins ${HOW[begins]} at both`
          : `who comes to ${begins ? other.setting : "this one"} may wait to be spoken to`;
      complain(path, `cannot share ${address} with ${other.setting}: ${why}; choose another port`);
    }
  }
}
