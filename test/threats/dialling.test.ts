import { once } from "node:events";
import { createServer } from "node:net";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { InternalMethod } from "../../src/broker/broker.ts";
import { answerInternally } from "../../src/broker/internal.ts";
import { silent } from "../../src/core/log.ts";
import { resolveEndpoint } from "../../src/net/dial.ts";
import { Announcements, PRIVATE } from "../../src/roles/proxy/announcements.ts";
import { mayAnnounce } from "../../src/roles/proxy/authorisation.ts";
import { Client } from "../../src/roles/proxy/client.ts";
import { PrivateBroker } from "../../src/roles/proxy/private-broker.ts";
import { openMemoryStore } from "../../src/store/memory.ts";
import { grpcServer, MemoryDirectory, operator } from "../support/directory.ts";
import { Forwarding } from "../support/forwarding.ts";

/** Ways to write an IPv4 address that a parser or a resolver may understand. */
function written(address: string): string[] {
  const parts = address.split(".").map(Number);
  const [a = 0, b = 0, c = 0, d = 0] = parts;
  const whole = ((a * 256 + b) * 256 + c) * 256 + d;
  const hex = (n: number): string => n.toString(16).padStart(2, "0");
  const groups = `${hex(a)}${hex(b)}:${hex(c)}${hex(d)}`;
  return [
    address,
    `${whole}`,
    `0x${whole.toString(16)}`,
    `0${whole.toString(8)}`,
    parts.map((part) => `0x${hex(part)}`).join("."),
    parts.map((part) => `0${part.toString(8)}`).join("."),
    `${a}.${b}.${c * 256 + d}`,
    `[::ffff:${address}]`,
    `[::ffff:${groups}]`,
    `[0:0:0:0:0:ffff:${groups}]`,
    `[::FFFF:${address}]`,
  ];
}

const NEVER = [
  ...["169.254.169.254", "169.254.0.1", "169.254.170.2", "0.0.0.0", "0.0.0.1", "0.255.255.255"],
  ...["224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255"],
].flatMap(written);

const NEVER_IPV6 = [
  ...["[::]", "[0::0]", "[0:0:0:0:0:0:0:0]", "[::0.0.0.0]", "[fe80::1]", "[FE80::1]"],
  ...["[febf::1]", "[fe80::a9fe:a9fe]", "[ff02::1]", "[ff05::2]", "[ffff::1]", "[fd00:ec2::254]"],
  ...["[fd00:0ec2:0:0:0:0:0:254]"],
];

describe("an endpoint that is never dialled", () => {
  it("has a corpus of at least a hundred (T14)", () => {
    expect(NEVER.length + NEVER_IPV6.length).toBeGreaterThanOrEqual(100);
  });

  it.each([...NEVER, ...NEVER_IPV6])("%s is refused however it is written (T14)", async (host) => {
    // Either it is understood and refused, or it is nothing that can be dialled.
    await expect(resolveEndpoint(`${host}:80`)).rejects.toMatchObject({
      fault: expect.stringMatching(/^(forbidden|unreachable|malformed)$/),
    });
  });

  it.each([
    ...["http://10.0.0.1:80", "10.0.0.1", "10.0.0.1:", "10.0.0.1:99999", "10.0.0.1:-1", "a@b:80"],
    ...["10.0.0.1:80/path", "10.0.0.1:80#x", "10.0.0.1:80 169.254.169.254:80", "[::1:80", "::1:80"],
    ...["unix:/run/x.sock", "10.0.0.1:80\r\nx: y", "10.0.0.1\0.evil:80", "%00:80", "", ":", "[]:1"],
  ])("%j is no endpoint (T14)", async (text) => {
    await expect(resolveEndpoint(text)).rejects.toMatchObject({
      fault: expect.stringMatching(/^(forbidden|unreachable|malformed)$/),
    });
  });

  it.each(["127.0.0.1", "10.1.2.3", "192.168.0.1", "172.16.0.1", "[::1]", "[fd00::1]", "8.8.8.8"])(
    "is not %s, which an organisation may use (T14)",
    async (host) => {
      await expect(resolveEndpoint(`${host}:80`)).resolves.toMatchObject({ port: 80 });
    },
  );
});

/** Everything above, and addresses that may be dialled if the right one asks. */
const ENDPOINTS = [
  ...NEVER,
  ...NEVER_IPV6,
  "127.0.0.1",
  "10.0.0.1",
  "localhost",
  "hd-1.example",
].map((host) => `${host}:80`);
const TOKEN = Buffer.alloc(32, 1).toString("base64");
const signal = new AbortController().signal;

describe("an invitation", () => {
  const OTHERS = ["hd-1", "proxy-2", "PROXY-1", "proxy-1.evil", "proxy", "", "hd-2"];

  it("to dial is taken from the proxy of the directory, and from nobody else (T14)", async () => {
    const dialled: string[] = [];
    const methods = new Map<string, InternalMethod>();
    const broker = { answer: (name: string, how: InternalMethod) => methods.set(name, how) };
    const channels = [grpcServer({ address: "hd-2:80", proxy: "proxy-1" })];
    const directory = new MemoryDirectory(operator("hd-2", { channels }));
    answerInternally(broker as never, {
      self: "hd-2",
      version: "1",
      directory,
      later: undefined as never,
      connected: () => [],
      dialIn: async (endpoint) => void dialled.push(endpoint),
    });
    const invite = async (name: string, endpoint: string): Promise<unknown> =>
      await methods.get("_connectionRequest")?.(
        {
          address: { operator: "hd-2", method: "_connectionRequest", call: "1" },
          // What it says of itself does not count.
          params: { channel: "grpc_server", endpoint, token: TOKEN, client: { name: "proxy-1" } },
          caller: { name, entry: operator(name) },
        } as never,
        signal,
      );
    for (const endpoint of ENDPOINTS) {
      for (const name of OTHERS) {
        await expect(invite(name, endpoint)).rejects.toMatchObject({ fault: "forbidden" });
      }
    }
    expect(dialled).toEqual([]);
    await invite("proxy-1", "10.0.0.1:80");
    expect(dialled).toEqual(["10.0.0.1:80"]);
    directory.set(operator("hd-2"));
    await expect(invite("proxy-1", "10.0.0.1:80")).rejects.toMatchObject({ fault: "forbidden" });
  });

  it("to fetch a connection is taken from the proxy it was announced at, for that domain (T14)", async () => {
    await using store = openMemoryStore();
    const announcements = await Announcements.open(PRIVATE, store, { log: silent });
    await announcements.announce({ domain: "a.example", party: "proxy-1", expires_at: null });
    const broker = new PrivateBroker({
      name: "private-proxy-1",
      announcements,
      eps: undefined as never,
      target: undefined as never, // what is refused never gets so far
      announce_again_ms: 60_000,
      log: silent,
    });
    const invite = async (name: string, domain: string, endpoint: string): Promise<unknown> =>
      await broker.methods.get("incomingConnection")?.(
        { domain, endpoint, token: TOKEN, _client: { name } },
        signal,
        "r1",
      );
    for (const endpoint of ENDPOINTS) {
      for (const name of OTHERS) {
        await expect(invite(name, "a.example", endpoint)).rejects.toMatchObject({
          fault: "not_found",
        });
      }
      for (const domain of ["b.example", "evil-a.example", "a.example.", "example", ""]) {
        await expect(invite("proxy-1", domain, endpoint)).rejects.toMatchObject({
          fault: "not_found",
        });
      }
    }
  });
});

describe("a request that is forwarded", () => {
  it.each([
    "GET http://127.0.0.1:%d/ HTTP/1.1",
    "CONNECT 127.0.0.1:%d HTTP/1.1",
    "GET //127.0.0.1:%d/ HTTP/1.1",
  ])("by %s reaches the internal server or nobody (T14)", async (line) => {
    let reached = 0;
    const victim = createServer(() => {}).listen(0, "127.0.0.1");
    victim.on("connection", () => {
      reached += 1;
    });
    await once(victim, "listening");
    const { port } = victim.address() as { port: number };
    await using forwarding = await Forwarding.open((_, response) => response.end("inside"));
    const host = `Host: 127.0.0.1:${port}`;
    const said = line.replace("%d", `${port}`);
    const heard = await forwarding.ask(said, host, "Connection: close", "", "");
    expect(heard).toMatch(/^$|^HTTP\/1\.1 4\d\d |^HTTP\/1\.1 200[\s\S]*inside$/);
    expect(reached).toBe(0);
    victim.close();
  });
});

const label = fc.stringMatching(/^[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?$/);
const domain = fc.array(label, { minLength: 1, maxLength: 4 }).map((labels) => labels.join("."));

/** Written down by labels from the right, where the rule itself compares texts. */
function covers(allowed: string, asked: string): boolean {
  const want = allowed.toLowerCase().split(".").reverse();
  const have = asked.toLowerCase().split(".").reverse();
  const below = allowed.startsWith(".");
  const labels = below ? want.slice(0, -1) : want;
  const fits = labels.every((each, index) => each === have[index]);
  return fits && (below ? have.length > labels.length : have.length === labels.length);
}

function may(allowed: string, asked: string): boolean {
  const settings = [{ operator: "", service: "proxy", settings: { allowed_domains: [allowed] } }];
  const client = Client.parse({ name: "hd-1", entry: { name: "hd-1", channels: [], settings } });
  try {
    mayAnnounce(client, asked, "private-proxy-1");
    return true;
  } catch {
    return false;
  }
}

describe("a domain", () => {
  it("may be announced if its labels say so, and never because it looks alike (T15)", () => {
    const alike = fc
      .record({ base: domain, front: label, how: fc.nat(8), below: fc.boolean() })
      .map(({ base, front, how, below }) => {
        const asked = [
          base,
          `${front}.${base}`,
          `${front}-${base}`,
          `${front}${base}`,
          `${base}.${front}`,
          base.toUpperCase(),
          `${front}.${front}.${base}`,
          base.slice(1) || base,
          `.${base}`,
        ][how] as string;
        return { allowed: below ? `.${base}` : base, asked };
      });
    fc.assert(
      fc.property(alike, ({ allowed, asked }) => {
        fc.pre(!asked.startsWith(".")); // no name in a ClientHello does
        expect(may(allowed, asked), `${allowed} for ${asked}`).toBe(covers(allowed, asked));
      }),
      { numRuns: 2_000 },
    );
  });

  it.each(["evil-example.com", "example.com.evil.org", "xexample.com", "example.com", "com"])(
    "%s is not below example.com (T15)",
    (asked) => {
      expect(may(".example.com", asked)).toBe(false);
    },
  );
});
