import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import * as z from "zod";
import { silent } from "../../../src/core/log.ts";
import { loadSettings } from "../../../src/core/settings/load.ts";
import { groupsThatMayCall, mayCall } from "../../../src/directory/permissions.ts";
import { openJsonDirectory } from "../../../src/directory/sources/json.ts";
import { EpsSettings } from "../../../src/roles/eps/settings.ts";
import { ProxySettings } from "../../../src/roles/proxy/settings.ts";
import { SdSettings } from "../../../src/roles/sd/settings.ts";
import { load, problems } from "../core/settings/folder.ts";

const DEV = "settings/dev";

async function dev<S extends z.ZodType>(schema: S, role: string): Promise<z.output<S>> {
  const outcome = await loadSettings(schema, "SETTINGS", { SETTINGS: `${DEV}/roles/${role}` });
  expect(outcome.warnings).toEqual([]);
  return outcome.settings;
}

/** The addresses in some settings, by the key they are under. */
function addresses(settings: unknown, path: string[] = []): Record<string, string> {
  if (typeof settings === "string") {
    return /:\d+(\/|$)/.test(settings) ? { [path.join(".")]: settings } : {};
  }
  const children = Object.entries(settings ?? {});
  return Object.assign({}, ...children.map(([key, each]) => addresses(each, [...path, key])));
}

function texts(settings: unknown): string[] {
  if (typeof settings === "string") return [settings];
  return typeof settings === "object" && settings ? Object.values(settings).flatMap(texts) : [];
}

const EPS_ROLES = {
  "hd-1": {
    name: "hd-1",
    channels: ["localhost:8888", "", "localhost:5555", ""],
    metrics: "localhost:2112",
  },
  "hd-2": {
    name: "hd-2",
    channels: ["localhost:8889", "", "localhost:3334", ""],
    metrics: "localhost:2113",
  },
  "ls-1": { name: "ls-1", channels: ["localhost:4445", "", "localhost:5557", "", ""] },
  "op-1": { name: "op-1", channels: ["", "localhost:4444", "", "localhost:5555", ""] },
  "public-proxy-eps-1": {
    name: "public-proxy-1.ga",
    channels: ["localhost:5556", "", "localhost:5544", ""],
    metrics: "localhost:2116",
  },
  "private-proxy-eps-1": {
    name: "private-proxy-1.ga",
    channels: ["localhost:7776", "", "localhost:7766", ""],
    metrics: "localhost:2118",
  },
};

describe("the development roles", () => {
  it.each(Object.entries(EPS_ROLES))(
    "%s listens where the documents say",
    async (role, expected) => {
      const settings = await dev(EpsSettings, role);
      expect(settings.name).toBe(expected.name);
      const bound = settings.channels.map((each) =>
        "bind_address" in each.settings ? each.settings.bind_address : "",
      );
      expect(bound).toEqual(expected.channels);
      expect(settings.metrics?.bind_address).toBe(
        "metrics" in expected ? expected.metrics : undefined,
      );
    },
  );

  it.each(Object.entries(EPS_ROLES))(
    "%s shows its own certificate everywhere",
    async (role, { name }) => {
      const settings = await dev(EpsSettings, role);
      const certs = join(process.cwd(), DEV, "certs");
      const files = texts(settings)
        .filter((each) => each.includes("/certs/"))
        .map((each) => join(each));
      const owners = files
        .map((each) => each.replace(`${certs}/`, ""))
        .filter((each) => !/^(root|intermediate)\.crt$/.test(each));
      expect(owners.length).toBeGreaterThan(3);
      for (const each of owners)
        expect(each).toMatch(new RegExp(`^${name.replace(".", "\\.")}(-sign)?\\.(crt|key)$`));
    },
  );

  it.each(Object.keys(EPS_ROLES))("%s asks sd-1 who the others are", async (role) => {
    const { directory } = await dev(EpsSettings, role);
    expect(directory).toMatchObject({
      type: "api",
      settings: {
        endpoints: ["https://localhost:3322/jsonrpc"],
        server_names: ["sd-1"],
        cache_entries_for: 5,
      },
    });
  });

  it("hd-1 is the one who signs", async () => {
    expect((await dev(EpsSettings, "hd-1")).signing).toMatchObject({
      name: "hd-1",
      certificate_file: expect.stringMatching(/\/hd-1-sign\.crt$/),
      key_file: expect.stringMatching(/\/hd-1-sign\.key$/),
      ca_certificate_file: expect.stringMatching(/\/root\.crt$/),
      ca_intermediate_certificate_files: [expect.stringMatching(/\/intermediate\.crt$/)],
    });
    expect((await dev(EpsSettings, "hd-2")).signing).toBeUndefined();
  });

  it("sd-1 keeps its records in a file and limits connections", async () => {
    const settings = await dev(SdSettings, "sd-1");
    expect(addresses(settings)).toEqual({
      "jsonrpc_server.bind_address": "localhost:3322",
      "metrics.bind_address": "localhost:2114",
    });
    expect(settings.jsonrpc_server.tls?.verify_client).toBe(true);
    expect(settings.jsonrpc_server.tcp_rate_limits).toEqual([
      { type: "second", limit: 10 },
      { type: "minute", limit: 1000 },
    ]);
    const { datastore } = settings.directory;
    expect(datastore.type).toBe("file");
    expect(texts(datastore.settings).map((each) => join(each))).toEqual([
      join(process.cwd(), DEV, "data/sd-1.log"),
    ]);
  });

  it("public-proxy-1 and private-proxy-1 sit beside their endpoints", async () => {
    expect(addresses((await dev(ProxySettings, "public-proxy-1")).public)).toEqual({
      tls_bind_address: "localhost:4433",
      internal_bind_address: "localhost:9999",
      internal_endpoint: "localhost:9999",
      "jsonrpc_client.endpoint": "https://localhost:5544/jsonrpc",
      "jsonrpc_server.bind_address": "localhost:6655",
    });
    const { private: inner } = await dev(ProxySettings, "private-proxy-1");
    expect(addresses(inner)).toEqual({
      "internal_endpoint.address": "localhost:7777",
      "jsonrpc_client.endpoint": "https://localhost:7766/jsonrpc",
      "jsonrpc_server.bind_address": "localhost:8877",
    });
    expect(inner?.internal_endpoint.tls).toMatchObject({
      certificate_file: expect.stringMatching(/internal-server\.crt$/),
      verify_client: false,
    });
  });

  it("know one another by a directory that lets the proxy do its work", async () => {
    const directory = await openJsonDirectory(
      { path: `${DEV}/directory/001_base.json` },
      { log: silent },
    );
    const entries = await directory.entries();
    const named = (name: string) => {
      const entry = [...entries.values()].find((each) => each.name === name);
      if (!entry) throw new Error(`${name} is not in the directory`);
      return entry;
    };
    const [hd1, hd2] = [named("hd-1"), named("hd-2")];
    const [pub, priv] = [named("public-proxy-1.ga"), named("private-proxy-1.ga")];
    for (const hd of [hd1, hd2]) {
      expect(hd.groups).toEqual(["health-departments"]);
      expect(hd.channels.find(({ type }) => type === "grpc_server")?.settings).toMatchObject({
        proxy: "public-proxy-1.ga",
      });
    }
    expect(pub.channels).toEqual([
      { type: "grpc_server", settings: { address: "localhost:5556" } },
    ]);
    expect(priv.channels).toEqual([
      { type: "grpc_server", settings: { address: "localhost:7776" } },
    ]);
    expect(named("ls-1").channels).toEqual([]);

    // The reverse stream of hd-2 depends on this one (eps-protocol 3.7).
    expect(groupsThatMayCall(hd2)).toContain("proxy-providers");
    const allowed = [
      [hd1, hd2, "_ping"],
      [pub, hd2, "_connectionRequest"],
      [hd1, pub, "requestConnection"],
      [priv, pub, "announceConnections"],
      [priv, pub, "getAnnouncements"],
      [pub, priv, "incomingConnection"],
      [hd1, priv, "announceConnection"],
      [hd1, priv, "getAnnouncements"],
      [named("ls-1"), priv, "_ping"],
    ] as const;
    for (const [caller, callee, method] of allowed) {
      expect(mayCall(caller, callee, method), `${caller.name} → ${callee.name}.${method}`).toBe(
        true,
      );
    }
    const refused = [
      [hd1, hd2, "_connectionRequest"],
      [priv, hd2, "_ping"],
      [priv, pub, "requestConnection"],
      [hd1, priv, "incomingConnection"],
      [hd1, named("ls-1"), "add"],
    ] as const;
    for (const [caller, callee, method] of refused) {
      expect(mayCall(caller, callee, method), `${caller.name} → ${callee.name}.${method}`).toBe(
        false,
      );
    }
    for (const operator of [hd1, priv]) {
      expect(operator.settings[0]?.settings).toEqual({
        allowed_domains: [".internal-server.local"],
      });
    }
  });
});

describe("settings written for the original", () => {
  const tls = (name: string): string => `
        ca_certificate_files: ["/$DIR/certs/root.crt"]
        certificate_file: "/$DIR/certs/${name}.crt"
        key_file: "/$DIR/certs/${name}.key"`;

  it("load for an endpoint, spread over folders and with a variable for the operator", async () => {
    const files = {
      "base/001_default.yml": `
vars: # who we are comes from outside
  OP: {type: string, source: env, variable: EPS_OP}
name: $OP
directory:
  type: api
  settings:
    endpoints: ["https://localhost:3322/jsonrpc"]
    server_names: ["sd-1"]
    jsonrpc_client:
      local: false
      tls:${tls("$OP")}
        verify_client: false
    ca_certificate_files: ["/$DIR/certs/root.crt"]
    ca_intermediate_certificate_files: ["/$DIR/certs/intermediate.crt"]
channels:
  - name: main gRPC server
    type: grpc_server
    settings:
      bind_address: "localhost:4444"
      tcp_rate_limits: [{type: minute, limit: 100}, {type: second, limit: 10}]
      validate_client: true
      tls:${tls("$OP")}
`,
      "role/001_default.yml": `
vars:
  OP: {type: string, source: literal, value: hd-1}
channels:
  - name: main gRPC client
    type: grpc_client
    settings:
      useProxy: yes
      enabled: true
      tls:${tls("$OP")}
  - name: main JSON-RPC server
    type: jsonrpc_server
    settings:
      bind_address: "0.0.0.0:5555"
      cors: {allowed_hosts: ["^https://.*\\\\.example\\\\.org$"], allowed_headers: [], allowed_methods: [POST]}
      tls:${tls("$OP")}
  - name: backend
    type: jsonrpc_client
    services: [{name: all}]
    settings: {endpoint: "http://localhost:6666/jsonrpc", tls: null, proxy_url: ""}
  - {name: stdout, type: stdout, settings: {}}
metrics: {bind_address: "localhost:2112"}
signing:
  name: $OP
  ca_certificate_file: "/$DIR/certs/root.crt"
  ca_intermediate_certificate_files: ["/$DIR/certs/intermediate.crt"]
  certificate_file: "/$DIR/certs/$OP-sign.crt"
  key_file: "/$DIR/certs/$OP-sign.key"
`,
    };
    const where = { items: ["base", "role"], env: { EPS_OP: "op-1" } };
    const { settings, warnings } = await load(EpsSettings, files, where);
    expect(settings.name).toBe("op-1");
    expect(settings.channels.map(({ type }) => type)).toEqual([
      "grpc_server",
      "grpc_client",
      "jsonrpc_server",
      "jsonrpc_client",
      "stdout",
    ]);
    const [server, client, rpc, backend] = settings.channels;
    expect(server?.settings).toMatchObject({
      tls: {
        certificate_file: expect.stringMatching(/^\/.*\/base\/certs\/op-1\.crt$/),
        verify_client: true,
      },
    });
    expect(client?.settings).toMatchObject({
      useProxy: true,
      tls: { key_file: expect.stringMatching(/\/role\/certs\/hd-1\.key$/) },
    });
    expect(rpc?.settings).toMatchObject({ path: "/jsonrpc", body_max: 4_194_304 });
    expect(backend?.settings).toMatchObject({
      endpoint: "http://localhost:6666/jsonrpc",
      local: true,
    });
    expect(settings.signing?.key_file).toMatch(/\/role\/certs\/hd-1-sign\.key$/);
    expect(settings.call_timeout).toBe(60);
    expect(settings.directory.settings).toMatchObject({ cache_entries_for: 5 });

    const keys = warnings.map((each) => /: ([\w.]+): is unknown and ignored/.exec(each)?.[1]);
    expect(keys.sort()).toEqual([
      "channels.0.settings.validate_client",
      "channels.1.settings.enabled",
      "channels.3.services",
    ]);
  });

  it("load for an endpoint with a directory of files", async () => {
    const text = `
vars: {OP: {type: string, source: literal, value: op-1}}
name: $OP
directory: {type: json, settings: {path: "/$DIR/../directory"}}
channels: []
`;
    const { settings, warnings } = await load(EpsSettings, { "1.yml": text });
    expect(warnings).toEqual([]);
    expect(settings).toMatchObject({
      name: "op-1",
      directory: { settings: { path: expect.stringMatching(/^\/.*\/directory$/) } },
    });
  });

  const redis = (key: string): string =>
    `datastore: {type: redis, settings: {addresses: ["localhost:6379"], database: 0, password: "", key: ${key}}}`;

  it("load for a service directory", async () => {
    const text = `
directory:
  ${redis("sd-entries")}
  ca_certificate_files: ["/$DIR/certs/root.crt"]
  metrics: {bind_address: "localhost:2114"}
metrics: {bind_address: "localhost:2115"}
jsonrpc_server:
  bind_address: "localhost:3322"
  path: ""
  tls:${tls("sd-1")}
  tcp_rate_limits: []
`;
    const { settings, warnings } = await load(SdSettings, { "1.yml": text });
    expect(settings).toMatchObject({
      directory: {
        datastore: {
          type: "redis",
          settings: {
            addresses: ["localhost:6379"],
            database: 0,
            password: "",
            key: "sd-entries",
            master_name: "",
          },
        },
        ca_intermediate_certificate_files: [],
      },
      jsonrpc_server: { path: "/jsonrpc" },
    });
    expect(warnings).toEqual([]);
  });

  it("load for both kinds of proxy", async () => {
    const text = `
public:
  name: public-proxy-1.ga
  ${redis("public-proxy-entries")}
  accept_timeout: 2.5
  jsonrpc_client: {endpoint: "https://localhost:5544/jsonrpc", tls: {ca_certificate_files: []}}
  jsonrpc_server: {bind_address: ":6655"}
private:
  name: private-proxy-1.ga
  ${redis("private-proxy-entries")}
  # verify_service_call: true
  internal_endpoint:
    jsonrpc_client: {endpoint: "http://localhost:8888/jsonrpc"}
    verify_service_call: true
  jsonrpc_client: {endpoint: "https://localhost:7766/jsonrpc"}
  jsonrpc_server: {bind_address: "localhost:8877"}
`;
    const { settings, warnings } = await load(ProxySettings, { "1.yml": text });
    expect(settings.public).toMatchObject({
      tls_bind_address: "localhost:443",
      internal_bind_address: "localhost:9999",
      internal_endpoint: "localhost:9999",
      accept_timeout: 2.5,
      limits: {
        circuits_max: 10_000,
        pending_max: 10_000,
        strangers_max: 4_096,
        strangers_per_source_max: 256,
        hello_timeout: 5,
        idle_timeout: 3_600,
        drain_timeout: 5,
      },
    });
    expect(settings.private?.internal_endpoint).toMatchObject({
      address: "localhost:8888",
      jsonrpc_path: "/jsonrpc",
      timeout: 30,
    });
    expect(warnings).toEqual([
      expect.stringContaining("private.internal_endpoint.verify_service_call"),
    ]);
    expect((await load(ProxySettings, { "1.yml": "public: null" })).settings).toEqual({});
  });
});

describe("settings that cannot work", () => {
  const eps = (rest: string): string => `
name: a
directory: {type: json, settings: {path: x}}
channels: []
${rest}
`;

  it("are refused when a certificate has no key, or a key no certificate", async () => {
    const text = eps(`channels:
  - {name: a, type: grpc_server, settings: {tls: {ca_certificate_files: [], certificate_file: a.crt}}}
  - {name: b, type: grpc_client, settings: {tls: {ca_certificate_files: [], key_file: a.key}}}
`).replace("channels: []\n", "");
    expect(await problems({ "1.yml": text }, { schema: EpsSettings })).toEqual([
      expect.stringContaining("channels.0.settings.tls.key_file: is missing"),
      expect.stringContaining("channels.1.settings.tls.certificate_file: is missing"),
    ]);
  });

  it("are refused when connections would be kept until original servers hang up", async () => {
    const text = eps(`channels:
  - {name: a, type: grpc_client, settings: {idle_timeout: 60, tls: {ca_certificate_files: []}}}
`).replace("channels: []\n", "");
    expect(await problems({ "1.yml": text }, { schema: EpsSettings })).toEqual([
      expect.stringContaining(
        "channels.0.settings.idle_timeout: expected seconds, a number from 0.1 to 55: original servers hang up after 60",
      ),
    ]);
  });

  it("are refused when there are two channels of one type, also from different folders", async () => {
    const channel = "channels: [{name: x, type: stdout, settings: {}}]";
    const files = { "1.yml": eps("").replace("channels: []", channel), "2.yml": channel };
    expect(await problems(files, { schema: EpsSettings })).toEqual([
      "~/2.yml:1:28: channels.1.type: is the second channel of type stdout, and there may be only one of a type",
    ]);
  });

  it("are refused when an api directory names no server, no name, or no TLS", async () => {
    const text = eps("").replace(
      "{type: json, settings: {path: x}}",
      "{type: api, settings: {endpoints: [], server_names: [], jsonrpc_client: {}, ca_certificate_files: []}}",
    );
    expect(await problems({ "1.yml": text }, { schema: EpsSettings })).toEqual([
      expect.stringContaining(
        "directory.settings.endpoints: expected at least one address, found an empty list",
      ),
      expect.stringContaining(
        "directory.settings.server_names: expected at least one name, found an empty list",
      ),
      expect.stringContaining("directory.settings.jsonrpc_client.tls: is required"),
    ]);
    const without = text.replace("endpoints: [], server_names: [], ", "");
    expect(await problems({ "1.yml": without }, { schema: EpsSettings })).toEqual([
      expect.stringContaining("directory.settings.endpoints: is required"),
      expect.stringContaining("directory.settings.server_names: is required"),
      expect.stringContaining("directory.settings.jsonrpc_client.tls: is required"),
    ]);
  });

  it("are refused when a redis password is missing, and never show one", async () => {
    const sd = (settings: string): string =>
      `{"directory": {"datastore": {"type": "redis", "settings": {${settings}}}, "ca_certificate_files": []}, "jsonrpc_server": {"bind_address": ":0"}}`;
    expect(
      await problems({ "1.json": sd('"addresses": ["a:1"]') }, { schema: SdSettings }),
    ).toEqual([expect.stringContaining("directory.datastore.settings.password: is required")]);
    const [shown] = await problems(
      { "1.json": sd('"addresses": ["a:1"], "password": 8675309') },
      { schema: SdSettings },
    );
    expect(shown).toContain(
      "directory.datastore.settings.password: expected a text, found something else",
    );
    expect(shown).not.toContain("8675309");
  });

  it.each([
    [
      "call_timeout: 0",
      "call_timeout: expected seconds, a number from 0.1 to 3600, found the number 0",
    ],
    ["call_timeout: 1m", 'call_timeout: expected seconds, a number from 0.1 to 3600, found "1m"'],
    [
      "metrics: {bind_address: 2112}",
      "metrics.bind_address: expected a text, found the number 2112",
    ],
    ["metrics: localhost:2112", 'metrics: expected a map, found "localhost:2112"'],
    ["name: ''", 'name: expected a text that is not empty, found ""'],
  ])("are refused for %s", async (rest, problem) => {
    const text = rest.startsWith("name") ? eps("").replace("name: a", rest) : eps(rest);
    expect(await problems({ "1.yml": text }, { schema: EpsSettings })).toEqual([
      expect.stringContaining(problem),
    ]);
  });
});

it("settings/README.md mentions every key there is", async () => {
  const readme = await readFile("settings/README.md", "utf8");
  const missing = new Set<string>();
  for (const schema of [EpsSettings, SdSettings, ProxySettings]) {
    const described = JSON.stringify(
      z.toJSONSchema(schema, { io: "input", unrepresentable: "any" }),
    );
    JSON.parse(described, (key, value) => {
      if (key !== "properties") return value;
      for (const name of Object.keys(value)) {
        if (!new RegExp(`[\`.]${name}[\`:.]`).test(readme)) missing.add(name);
      }
      return value;
    });
  }
  expect([...missing]).toEqual([]);
});

it("settings/README.md marks the keys that take effect at SIGHUP, and no others", async () => {
  const readme = await readFile("settings/README.md", "utf8");
  const marked = [...readme.matchAll(/`([\w.]+)`(?:\*\*)?(?: ✦)? ↻/g)].map(([, key = ""]) => key);
  const live = new Set<string>();
  for (const schema of [EpsSettings, SdSettings, ProxySettings]) {
    const described = JSON.stringify(
      z.toJSONSchema(schema, { io: "input", unrepresentable: "any" }),
    );
    JSON.parse(described, (key, value) => {
      if (key !== "properties") return value;
      for (const [name, each] of Object.entries<{ live?: boolean }>(value)) {
        if (each.live) live.add(name);
      }
      return value;
    });
  }
  const missing = [...live].filter((name) => !marked.some((key) => key.split(".").includes(name)));
  const wrong = marked.filter((key) => !key.split(".").some((name) => live.has(name)));
  expect({ missing, wrong }).toEqual({ missing: [], wrong: [] });
});
