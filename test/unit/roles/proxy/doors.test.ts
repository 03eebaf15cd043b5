import { describe, expect, it } from "vitest";
import { checkProxies } from "../../../../src/roles/proxy/check.ts";
import { sharedDoors } from "../../../../src/roles/proxy/doors.ts";
import { ProxySettings } from "../../../../src/roles/proxy/settings.ts";

const HERE = "localhost:4430";
const PUBLIC = {
  name: "p",
  datastore: { type: "memory" },
  jsonrpc_client: {},
  jsonrpc_server: { bind_address: "localhost:0" },
};
const TLS = { ca_certificate_files: ["root.crt"], certificate_file: "a.crt", key_file: "a.key" };
const CURVE = { secret_key_file: "secret" };
const site = (more: object) => ({ west: { nm: "ws://site.example" }, ...more });
const pool = (more: object) => ({
  name: "ssh",
  data_bind_address: "localhost:1",
  command_bind_address: "localhost:2",
  client_bind_address: "localhost:3",
  ...more,
});
const zeromq = (proxy_ports: string, more: object = {}) => {
  return { proxy_ports, host: "localhost", ...more };
};

/** What is wrong with settings, by their keys. */
function problems(settings: object): Record<string, string> {
  const { error } = ProxySettings.safeParse(settings);
  return Object.fromEntries(
    (error?.issues ?? []).map((each) => [each.path.join("."), each.message]),
  );
}

describe("doors at one address", () => {
  it("may be one of each kind, however the address is written", () => {
    const settings = {
      public: { ...PUBLIC, tls_bind_address: HERE, internal_bind_address: "127.0.0.1:4430" },
      pools: [pool({ data_bind_address: HERE })],
      west: site({ wsts: { sp: "ws://localhost:4430" } }),
      zeromq: zeromq("4430, 4430, 4431"),
    };
    const shared = sharedDoors(ProxySettings.parse(settings));
    expect([...shared.keys()]).toEqual(["127.0.0.1:4430"]);
    expect(
      shared
        .get("127.0.0.1:4430")
        ?.map(({ begins }) => begins)
        .sort(),
    ).toEqual(["http", "relayserver", "tls", "token", "zmtp"]);
    const everywhere = {
      public: { ...PUBLIC, tls_bind_address: ":443", internal_bind_address: "0.0.0.0:443" },
    };
    expect([...sharedDoors(ProxySettings.parse(everywhere)).keys()]).toEqual([":443"]);
  });

  it("are none where the kernel chooses the port", () => {
    const any = {
      ...PUBLIC,
      tls_bind_address: "localhost:0",
      internal_bind_address: "localhost:0",
    };
    expect(sharedDoors(ProxySettings.parse({ public: any })).size).toBe(0);
  });

  it.each([
    [
      "two that speak TLS",
      {
        public: { ...PUBLIC, tls_bind_address: HERE },
        zeromq: zeromq("1,2,3", { tls_bind_address: HERE, tls: TLS }),
      },
      "zeromq.tls_bind_address",
      /cannot share 127.0.0.1:4430 with public: tls_bind_address: whoever comes begins with TLS at both/,
    ],
    [
      "two ZeroMQ ports that are not the two public ones",
      { zeromq: zeromq("4430, 4431, 4430") },
      "zeromq.proxy_ports",
      /begins as ZeroMQ does at both/,
    ],
    [
      "workers and clients of a pool",
      { pools: [pool({ gate: "curve", worker_bind_address: HERE, client_bind_address: HERE })] },
      "pools.0.worker_bind_address",
      /begins as ZeroMQ does at both/,
    ],
    [
      "clients that may wait to be spoken to",
      { pools: [pool({ client_bind_address: HERE })], zeromq: zeromq("4430,1,2") },
      "zeromq.proxy_ports",
      /who comes to pools: ssh: client_bind_address may wait/,
    ],
    [
      "an original's command channel",
      { pools: [pool({ data_bind_address: HERE, command_bind_address: HERE })] },
      "pools.0.command_bind_address",
      /who comes to this one may wait/,
    ],
    [
      "two of HTTP",
      {
        west: site({
          wsts: { sp: `ws://${HERE}` },
          proxy: {
            [`http://${HERE}`]: { en: "ws://l.example", "/": { ou: "http://localhost:1/" } },
          },
        }),
      },
      `west.proxy.http://${HERE}`,
      /begins with HTTP at both/,
    ],
    [
      "both public ports with CURVE",
      { zeromq: zeromq("4430, 4430, 4431", { curve: CURVE }) },
      "zeromq.proxy_ports",
      /cannot name one port twice: peers with CURVE/,
    ],
  ])("may not be %s", (_, settings, key, message) => {
    expect(problems(settings)).toEqual({ [key]: expect.stringMatching(message) });
  });

  it("are told by a check, and that sections which share one run together", async () => {
    const alone = { ...PUBLIC, tls_bind_address: HERE, internal_bind_address: HERE };
    const west = site({ wsts: { sp: `ws://${HERE}` } });
    for (const [settings, severity] of [
      [{ public: alone }, "ok"],
      [{ public: alone, west }, "note"],
    ] as const) {
      const found = [];
      const checking = checkProxies(ProxySettings.parse(settings), new AbortController().signal);
      for await (const each of checking) found.push(each);
      const told = found.filter(({ what }) => what.includes("is shared by"));
      expect(told).toMatchObject([{ severity }]);
    }
  });
});
