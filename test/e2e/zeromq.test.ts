import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { networkInterfaces, tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { text } from "node:stream/consumers";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { stringify } from "yaml";
import { freePorts } from "../../src/roles/dev/ports.ts";
import { Program } from "../../src/roles/dev/processes.ts";
import { CameoPeers, hears, PUBLISHER, type Requester, responderName } from "../support/cameo.ts";
import { CameoServer, STATE } from "../support/cameo-server.ts";
import { Authority } from "../support/certificates.ts";
import { samples } from "../support/metrics.ts";
import { describeWithPython, PYTHON } from "../support/tools.ts";
import { until } from "../support/until.ts";

const { signal } = new AbortController();
const programs: Program[] = [];
const NAME = responderName("adder", 1);
let folder: string;
let peers: CameoPeers;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "eps-zeromq-"));
});
beforeEach(() => {
  peers = new CameoPeers();
});
afterEach(async () => {
  peers[Symbol.dispose]();
  await Promise.all(programs.splice(0).map((program) => program.stop()));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function start(name: string, flags: string[], env: NodeJS.ProcessEnv = {}): Promise<Program> {
  const how = { argv: ["proxy", "run", "zeromq", ...flags], env: { ...process.env, ...env } };
  const program = new Program(name, { ...how, logs: folder, keep: false });
  programs.push(program);
  await program.said(({ msg }) => msg === "ready", { what: "ready", within_ms: 20_000 }, signal);
  return program;
}

async function site(name: string) {
  const [responder = 0, publisher = 0, internal = 0] = await freePorts(3);
  const ports = { responder, publisher, internal };
  const flags = ["--host", "localhost", "--ports", Object.values(ports).join()];
  return { ports, open: () => start(name, flags) };
}

/** Types of messages that no server is asked: CANCEL, REQUEST, RESPONSE, STREAM, STREAM_END, PONG (4.6). */
const BETWEEN = new Set([19, 21, 22, 34, 35, 37]);
const json = (type: number, more: object = {}): string => JSON.stringify({ type, ...more });

describe("proxy run zeromq", () => {
  it("brings every request to a CAMEO server, and what it publishes to who listens", async () => {
    const { ports, open } = await site("server");
    const proxy = await open();
    new CameoServer(peers, ports);
    const client = peers.requester(ports.responder);
    await client.sync("0:0");
    const events = peers.subscriber(ports.publisher, "");
    events.receiveTimeout = 50;
    do
      await client.ask("0:0", json(1)); // a SYNC is repeated until its event arrives (4.5)
    while (!(await events.receive().catch(() => undefined)));
    await client.ask("0:0", json(2, { name: "the last of them" }));
    for await (const [topic] of events) if (String(topic) === "stream:the last of them") break;
    events.receiveTimeout = 10_000;
    const status = (applicationState: number, pastApplicationStates: number, id = 1) => {
      return ["status", { id, name: "adder", applicationState, pastApplicationStates }];
    };
    const info = (applicationState: number, pastApplicationStates: number) => {
      const about = { name: "adder", applicationState, pastApplicationStates, args: ["x"], pid: 1 };
      return { applicationInfo: [{ id: 1, ...about }] };
    };
    const ok = (value = 0, message = "OK") => ({ value, message });
    const stream = (event: object) => ["stream:adder", event];
    const stored = { id: 1, key: NAME, value: '{"port":1}' };
    const keyvalue = (status: number) => ["keyvalue", { name: "adder", status, ...stored }];
    const { STARTING, RUNNING, STOPPED, KILLED, SUCCESS } = STATE;
    type Row = [type: number, fields: object, answer: object, ...events: unknown[][]];
    const rows: Row[] = [
      [
        1,
        {},
        ok(),
        ["status", { id: -1, name: "", applicationState: 0, pastApplicationStates: 0 }],
      ],
      [36, {}, ok(ports.responder)],
      [17, {}, ok(ports.publisher)],
      [18, {}, ok(ports.internal)],
      [13, {}, ok(7_001)],
      [25, {}, { major: 1, minor: 0, revision: 0 }],
      [14, {}, { applicationConfig: [expect.objectContaining({ name: "adder" })] }],
      [3, { name: "nobody" }, ok(-1)],
      [3, { name: "adder", args: ["x"] }, ok(1), status(STARTING, 0)],
      [15, { id: 1, applicationState: RUNNING }, ok(), status(RUNNING, STARTING)],
      [16, { id: 1 }, status(RUNNING, STARTING)[1] as object],
      [16, { id: 9 }, { id: 9, name: "?", applicationState: 0, pastApplicationStates: 0 }],
      [5, { name: "adder" }, info(RUNNING, STARTING)],
      [6, { id: 9 }, { applicationInfo: [] }],
      [7, {}, info(RUNNING, STARTING)],
      [8, { name: "adder" }, ok(7_002)],
      [9, { id: 9 }, ok(-1)],
      [10, { id: 1 }, { isAlive: true }],
      [2, { name: "adder" }, ok(), stream({ type: 2 })],
      [
        11,
        { id: 1, parameters: ["hello"] },
        ok(),
        stream({ type: 34, id: 1, message: "hello", eol: true }),
      ],
      [26, stored, ok(), keyvalue(26)],
      [26, stored, ok(-2)],
      [27, stored, ok(0, '{"port":1}')],
      [28, stored, ok(), keyvalue(28)],
      [27, stored, ok(-2)],
      [26, { ...stored, id: 9 }, ok(-1)],
      [29, { id: 1 }, ok(7_003)],
      [30, { id: 1, port: 7_003 }, ok()],
      [29, { id: 1 }, ok(7_004)],
      [31, { id: 1, port: 7_004 }, ok()],
      [32, {}, { portInfo: [{ port: 7_003, status: "unavailable", owner: "" }] }],
      [33, { id: 1, stoppingTime: 1 }, ok()],
      [20, { id: 1 }, ok(), ["result", { id: 1, name: "adder" }, "the data"]],
      [
        4,
        { id: 1 },
        ok(0, "adder"),
        stream({ type: 35, id: 1 }),
        status(STOPPED, STARTING | RUNNING),
      ],
      [10, { id: 1 }, { isAlive: false }],
      [23, { name: "adder", pid: 7 }, ok(2), status(STARTING, 0, 2)],
      [24, { id: 2 }, ok(), status(SUCCESS, STARTING, 2)],
      [3, { name: "adder" }, ok(3), status(STARTING, 0, 3)],
      [12, { id: 3 }, ok(0, "adder"), stream({ type: 35, id: 3 }), status(KILLED, STARTING, 3)],
      [19, {}, ok(-1, "unknown")],
    ];
    for (const [type, fields, answer, ...published] of rows) {
      const data = type === 20 ? ["the data"] : [];
      const told = await client.ask("0:0", json(type, fields), ...data);
      expect(JSON.parse(String(told)), `type ${type}`).toEqual(answer);
      for (const [topic, event, ...more] of published) {
        const [heard, what, ...rest] = (await events.receive()).map(String);
        expect([heard, JSON.parse(what ?? ""), ...rest], `type ${type}`).toEqual([
          topic,
          event,
          ...more,
        ]);
      }
    }
    const asked = rows.map(([type]) => type);
    const toServers = [...Array(37).keys()].map((i) => i + 1).filter((type) => !BETWEEN.has(type));
    expect(toServers.filter((type) => !asked.includes(type))).toEqual([]);
    peers[Symbol.dispose]();
    const ended = ({ msg }: { msg: string }): boolean => msg === "circuit ended";
    const record = await proxy.said(ended, { what: "done", within_ms: 10_000 }, signal);
    expect(record).toMatchObject({ caller: "this machine", ending: "done" });
  });

  it("brings applications together: requests, streams and pings, in step before they begin [cameo 4, 9]", async () => {
    const { ports, open } = await site("applications");
    await open();
    const topic = `${PUBLISHER}ticks:1`;
    const publisher = peers.publisher(ports.internal);
    let counted = 0;
    peers.responder(ports.responder, NAME, ([request, what = ""]) => {
      const { type } = JSON.parse(String(request));
      if (type === 36) return [[json(37)]];
      return type === 21
        ? [
            [json(22), what],
            [json(22), "and again"],
          ]
        : [[json(22)]];
    });
    // A publisher that waits for its subscribers has a responder for them (4.5).
    const inStep = responderName("publisher:ticks", 1);
    peers.responder(ports.responder, inStep, ([request]) => {
      const { type } = JSON.parse(String(request));
      if (type === 2) void publisher.send([topic, json(2)]);
      if (type === 100) counted += 1;
      return [[json(22)]];
    });
    const requester = peers.requester(ports.responder);
    await requester.sync(NAME);
    const answer = async (): Promise<string[]> => (await requester.receive()).map(String);
    await requester.send(NAME, json(21), "request");
    expect([await answer(), await answer()]).toEqual([
      [json(22), "request"],
      [json(22), "and again"],
    ]);
    expect(String(await requester.ask(NAME, json(36)))).toBe(json(37));
    await requester.sync(inStep);
    const subscribers = Array.from({ length: 5 }, () => peers.subscriber(ports.publisher, topic));
    for (const each of subscribers) {
      each.receiveTimeout = 100;
      do await requester.ask(inStep, json(2));
      while (!(await each.receive().catch(() => undefined)));
      each.receiveTimeout = 10_000;
      await requester.ask(inStep, json(100));
    }
    expect(counted).toBe(5);
    for (let n = 0; n < 1_000; n += 1) await publisher.send([topic, json(34), `${n}`]);
    await publisher.send([topic, json(36)]);
    await publisher.send([topic, json(35)]);
    for (const each of subscribers) {
      const heard: string[] = [];
      for await (const [, type, data] of each) {
        if (String(type) === json(35)) break;
        if (String(type) === json(34)) heard.push(String(data));
      }
      expect(heard).toEqual(Array.from({ length: 1_000 }, (_, n) => `${n}`));
    }
  });

  it("lets applications call back through the proxies of who asked, and of who started them [cameo 12]", async () => {
    const [a, b] = [await site("callee"), await site("caller")];
    await Promise.all([a.open(), b.open()]);
    const [serverOfA] = [new CameoServer(peers, a.ports), new CameoServer(peers, b.ports)];
    const back = responderName("back", 1);
    peers.responder(b.ports.responder, back, ([what = ""]) => [[`B heard ${what}`]]);
    const atB = peers.requester(b.ports.responder);
    await atB.sync("0:0");
    await atB.ask("0:0", json(3, { name: "adder" }));
    await atB.ask("0:0", json(26, { id: 1, key: back, value: "{}" }));
    /** What `connectToRequester` and `connectToStarter` do with USE_PROXY (4.5), and then asks who is there. */
    const connect = async (proxyPort: number, id: number, what: string): Promise<string> => {
      const there = peers.requester(proxyPort);
      await there.sync("0:0");
      const told = async (type: number, more = {}) =>
        JSON.parse(String(await there.ask("0:0", json(type, more))));
      const { value } = await told(36);
      const { applicationInfo } = await told(6, { id });
      const { value: isStored } = await told(27, { id, key: back });
      expect([value, applicationInfo[0]?.name, isStored]).toEqual([proxyPort, "adder", 0]);
      const requester = peers.requester(value);
      await requester.sync(back);
      return String(await requester.ask(back, what));
    };
    const calledBack = new Promise<string>((resolve) => {
      peers.responder(a.ports.responder, NAME, ([request = ""]) => {
        const { applicationId, serverProxyPort } = JSON.parse(String(request));
        if (serverProxyPort) void connect(serverProxyPort, applicationId, "A").then(resolve);
        return [[json(22)]];
      });
    });
    const requester = peers.requester(a.ports.responder);
    await requester.sync(NAME);
    const requesting = { applicationName: "adder", applicationId: 1 };
    const from = { serverEndpoint: "tcp://localhost:7000", serverProxyPort: b.ports.responder };
    await requester.ask(NAME, json(21, { ...requesting, ...from }));
    expect(await calledBack).toBe("B heard A");
    await requester.sync("0:0");
    const starter = { id: 1, name: "adder", server: "tcp://localhost:7000" };
    const starting = { name: "adder", starter, starterProxyPort: b.ports.responder };
    await requester.ask("0:0", json(3, starting));
    const [{ starterProxyPort = 0, starter: by } = {}] = serverOfA.started;
    expect(await connect(starterProxyPort, by?.id ?? 0, "who was started")).toBe(
      "B heard who was started",
    );
  });

  it("is found again by all its peers after it was killed under load [cameo 8]", async () => {
    const { ports, open } = await site("killed");
    const first = await open();
    peers.responder(ports.responder, NAME, ([n = ""]) => [[n]]);
    const subscriber = peers.subscriber(ports.publisher, "t");
    const publisher = peers.publisher(ports.internal);
    const requesters = Array.from({ length: 5 }, () => peers.requester(ports.responder));
    await Promise.all(requesters.map((each) => each.sync(NAME)));
    let answered = 0;
    let wrong = 0;
    const over = new AbortController();
    const load = requesters.map(async ({ socket }, index) => {
      socket.receiveTimeout = 200;
      for (let n = 0; !over.signal.aborted; n += 1) {
        const question = `${index} ${n}`;
        await socket.send(["", NAME, "", question]);
        const answer = await socket.receive().catch(() => undefined);
        if (!answer) continue;
        answered += 1;
        // One that was given up may come late; what is of another requester may not.
        if (!String(answer[3]).startsWith(`${index} `)) wrong += 1;
      }
    });
    await until(() => answered > 500, "there is load");
    await first.stop("SIGKILL");
    await open();
    const before = answered;
    await until(() => answered > before + 500, "there is load again");
    over.abort();
    await Promise.all(load);
    expect(wrong).toBe(0);
    await hears(subscriber, publisher, ["t", "news"]);
  });

  it("sends what is queued before it stops", async () => {
    const { ports, open } = await site("drained");
    const proxy = await open();
    const body = Buffer.alloc(128 * 1024);
    let asked = 0;
    peers.responder(ports.responder, NAME, ([n = ""]) => {
      asked += /^\d+$/.test(String(n)) ? 1 : 0;
      return [[n, body]];
    });
    const [reader, other] = [10, 1_000].map((receiveHighWaterMark) =>
      peers.requester(ports.responder, { more: { receiveHighWaterMark } }),
    ) as [Requester, Requester];
    await Promise.all([reader.sync(NAME), other.sync(NAME)]);
    for (let n = 0; n < 500; n += 1) await reader.send(NAME, `${n}`);
    expect(String((await reader.receive())[0])).toBe("0");
    // By one requester's connection 500 questions may come later than by another's this one.
    await until(async () => {
      await other.ask(NAME, "are you through?");
      return asked >= 500;
    }, "all were answered");
    await other.ask(NAME, "and was that the last?");
    const stopping = proxy.stop();
    for (let n = 1; n < 500; n += 1) expect(String((await reader.receive())[0])).toBe(`${n}`);
    expect(await stopping).toBe(0);
  });
});

const noIPv6 = !Object.values(networkInterfaces()).some((all) =>
  all?.some(({ address }) => address === "::1"),
);

describe.skipIf(noIPv6)(`peers with IPv6${noIPv6 ? " (needs ::1)" : ""}`, () => {
  it("are served at both public ports, and are of this machine", async () => {
    const [responder = 0, publisher = 0, internal = 0] = await freePorts(3);
    const ports = [responder, publisher, internal].join();
    const proxy = await start("ipv6", ["--host", "::1", "--ports", ports]);
    using six = new CameoPeers("[::1]");
    six.responder(responder, NAME, ([what = ""]) => [[what]]);
    const requester = six.requester(responder);
    await requester.sync(NAME);
    expect(String(await requester.ask(NAME, "by IPv6"))).toBe("by IPv6");
    await hears(six.subscriber(publisher, "t"), peers.publisher(internal), ["t", "news"]);
    const opened = proxy.lines().filter(({ msg }) => msg === "circuit open");
    expect(new Set(opened.map(({ caller }) => caller))).toEqual(new Set(["this machine"]));
  });
});

describeWithPython(["zmq"], "peers with Python's ZeroMQ", () => {
  const PYTHON_PEERS = `
import sys, zmq
name, topic, responder, publisher = sys.argv[1:3] + [f"tcp://127.0.0.1:{port}" for port in sys.argv[3:]]
context = zmq.Context()
own = context.socket(zmq.ROUTER)
own.setsockopt(zmq.IDENTITY, (name + "-python").encode())
own.connect(responder)
client = context.socket(zmq.REQ)
client.setsockopt(zmq.REQ_RELAXED, 1)
client.setsockopt(zmq.RCVTIMEO, 500)
client.connect(responder)
while True:
    client.send_multipart([name.encode(), b"", b"from Python"])
    try:
        print(client.recv_multipart()[2].decode(), flush=True)
        break
    except zmq.Again:
        pass
news = context.socket(zmq.SUB)
news.setsockopt(zmq.SUBSCRIBE, topic.encode())
news.connect(publisher)
print(news.recv_multipart()[1].decode(), flush=True)
while True:
    via, _, origin, _, *payload = own.recv_multipart()
    own.send_multipart([via, b"", origin, b"", b"Python heard"] + payload)
`;

  it("ask, listen and answer as others do [cameo 13]", async () => {
    const { ports, open } = await site("python");
    await open();
    peers.responder(ports.responder, NAME, ([what = ""]) => [[`asked ${what}`]]);
    const publisher = peers.publisher(ports.internal);
    const news = setInterval(() => void publisher.send(["t", "news"]), 20);
    const flags = ["-c", PYTHON_PEERS, NAME, "t", `${ports.responder}`, `${ports.publisher}`];
    const python = spawn(PYTHON, flags, { stdio: ["ignore", "pipe", "inherit"] });
    try {
      const lines = createInterface(python.stdout)[Symbol.asyncIterator]();
      expect((await lines.next()).value).toBe("asked from Python");
      expect((await lines.next()).value).toBe("news");
      const requester = peers.requester(ports.responder);
      await requester.sync(`${NAME}-python`);
      const answer = await requester.ask(`${NAME}-python`, "a", "b");
      expect(answer.map(String)).toEqual(["Python heard", "a", "b"]);
    } finally {
      clearInterval(news);
      python.kill("SIGKILL");
    }
  });
});

describe("the ports inside TLS", () => {
  it("are at another machine as if they were there, and whoever comes so is no neighbour [cameo 11]", async () => {
    await using authority = await Authority.open();
    const tls = await authority.issue("site.example.org");
    const { ports } = await site("");
    const [tlsPort = 0, status = 0, ...there] = await freePorts(4);
    const PROXY_SETTINGS = join(folder, "tls.yml");
    const zeromq = {
      proxy_ports: Object.values(ports).join(),
      host: "localhost",
      tls_bind_address: `localhost:${tlsPort}`,
      tls,
    };
    await writeFile(
      PROXY_SETTINGS,
      stringify({ zeromq, metrics: { bind_address: `localhost:${status}` } }),
    );
    await start("inside", [], { PROXY_SETTINGS });
    const { ca_certificate_files, certificate_file = "", key_file = "" } = tls;
    const files = ["--cert", certificate_file, "--key", key_file];
    const name = ["--server-name", "site.example.org"];
    const flags = ["--through", `localhost:${tlsPort}`, "--ca", ca_certificate_files[0] ?? ""];
    await start("link", [...flags, ...files, ...name, "--ports", there.join()]);
    const [responder = 0, publisher = 0] = there;
    peers.responder(ports.responder, NAME, ([what = ""]) => [[what]]);
    const requester = peers.requester(responder);
    await requester.sync(NAME);
    expect(String(await requester.ask(NAME, "through TLS"))).toBe("through TLS");
    const subscriber = peers.subscriber(publisher, "t");
    const news = peers.publisher(ports.internal);
    await hears(subscriber, news, ["t", "news"]);
    const rogue = peers.responder(responder, "0:0", () => [["stolen"]]);
    await until(async () => {
      await rogue.send(["R", "", NAME, "", "forged"]).catch(() => {});
      const told = samples(await (await fetch(`http://127.0.0.1:${status}/metrics`)).text());
      const lost = told.get('eps_broker_switch_lost_total{switch="responder",why="forbidden"}');
      return (lost ?? 0) > 0;
    }, "one who claims to be the server is refused");
  });
});

describe("the programs that a CAMEO server starts", () => {
  const bin = (name: string): string => join("dist", "bin", `${name}.js`);
  const children: ChildProcess[] = [];
  afterEach(() => {
    for (const child of children.splice(0)) child.kill("SIGKILL");
  });

  it("say on standard output what is missing, and that a port is taken", async () => {
    const taken = createServer().listen(0);
    await once(taken, "listening");
    const { port } = taken.address() as { port: number };
    const outcome = async (name: string, ...args: string[]): Promise<string> => {
      const child = spawn(process.execPath, [bin(name), ...args], {
        stdio: ["ignore", "pipe", "inherit"],
      });
      const [told, [code]] = await Promise.all([text(child.stdout), once(child, "close")]);
      return `${code} ${told.trim()}`;
    };
    const outcomes = await Promise.all([
      outcome("cameo-rep-proxy"),
      outcome("cameo-pub-proxy", "10001"),
      outcome("cameo-rep-proxy", `${port}`),
    ]);
    taken.close();
    expect(outcomes).toEqual([
      "1 cameo-rep-proxy: usage: cameo-rep-proxy <port>",
      "1 cameo-pub-proxy: usage: cameo-pub-proxy <publisher port> <subscriber port>",
      expect.stringMatching(/^1 cameo-rep-proxy: .*another program already listens there/),
    ]);
  });

  it("work side by side, and end when their server is killed", async () => {
    const [responder = 0, publisher = 0, internal = 0] = await freePorts(3);
    const commands = [
      [bin("cameo-rep-proxy"), `${responder}`],
      [bin("cameo-pub-proxy"), `${publisher}`, `${internal}`],
    ];
    const server = spawn(
      process.execPath,
      [
        "-e",
        `const { spawn } = require("node:child_process");
         const pids = ${JSON.stringify(commands)}.map((args) =>
           spawn(process.execPath, args, { stdio: "ignore" }).pid);
         process.stdout.write(JSON.stringify(pids) + "\\n");
         setInterval(() => {}, 1e6);`,
      ],
      { stdio: ["ignore", "pipe", "inherit"] },
    );
    children.push(server);
    const [line] = await once(server.stdout as NodeJS.ReadableStream, "data");
    const pids: number[] = JSON.parse(String(line));
    peers.responder(responder, NAME);
    const requester = peers.requester(responder);
    await requester.sync(NAME);
    const subscriber = peers.subscriber(publisher, "t");
    const news = peers.publisher(internal);
    await hears(subscriber, news, ["t", "news"]);
    server.kill("SIGKILL");
    await until(() => !pids.some(lives), "both programs have ended");
  });
});

function lives(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

const ip = (...args: string[]): string => execFileSync("ip", args, { encoding: "utf8" });

/** What A lets in: what belongs to connections that are there, and two ports. Others are told who is to blame. */
const FIREWALL = `table inet firewall {
  chain input {
    type filter hook input priority 0; policy accept;
    iifname "lo" accept
    ct state established,related accept
    meta l4proto ipv6-icmp accept
    tcp dport { 10000, 10001 } accept
    reject with icmpx admin-prohibited
  }
}`;

/** Whether this process may make network namespaces with a firewall: root on Linux, with iproute2 and nftables. */
function mayMakeNamespaces(): boolean {
  const name = `eps-try-${process.pid}`;
  if (spawnSync("ip", ["netns", "add", name]).status !== 0) return false;
  const filter = spawnSync("ip", ["netns", "exec", name, "nft", FIREWALL]);
  return spawnSync("ip", ["netns", "del", name]).status === 0 && filter.status === 0;
}

const possible = mayMakeNamespaces();
const reason = possible ? "" : " (needs root, ip netns and nft: make test-deps)";

describe.skipIf(!possible)(`computers A and B with a firewall between them${reason}`, () => {
  const [a, b] = [`eps-a-${process.pid}`, `eps-b-${process.pid}`];

  beforeAll(() => {
    for (const name of [a, b]) ip("netns", "add", name);
    ip("link", "add", "eth0", "netns", a, "type", "veth", "peer", "name", "eth0", "netns", b);
    for (const [name, address] of [
      [a, "192.0.2.1/24"],
      [b, "192.0.2.2/24"],
    ] as const) {
      ip("-n", name, "addr", "add", address, "dev", "eth0");
      ip("-n", name, "link", "set", "eth0", "up");
      ip("-n", name, "link", "set", "lo", "up");
    }
  });
  afterAll(() => {
    for (const name of [a, b]) ip("netns", "del", name);
  });

  it("let B reach all of A's applications by two ports, and nothing by any other [cameo 1, 2, 11]", async () => {
    const ports = ["10000", "10001", "10002"];
    const inside = (name: string, ...args: string[]): ChildProcess =>
      spawn("ip", ["netns", "exec", name, process.execPath, ...args], {
        stdio: ["ignore", "pipe", "inherit"],
      });
    const told = async ({ stdout }: ChildProcess): Promise<string> =>
      String((await once(stdout as NodeJS.ReadableStream, "data"))[0]).trim();
    const elsewhere = (...args: string[]): ChildProcess =>
      inside(b, "--import", "tsx", "test/support/cameo-elsewhere.ts", "192.0.2.1", ...args);
    const [responder = "", publisher = "", internal = ""] = ports;
    const running = [
      inside(a, "dist/bin/cameo-rep-proxy.js", responder),
      inside(a, "dist/bin/cameo-pub-proxy.js", publisher, internal),
      inside(a, "--import", "tsx", "test/support/cameo-here.ts", ...ports),
    ];
    try {
      const application = await told(running[2] as ChildProcess);
      const before = elsewhere("trial", internal, application);
      running.push(before);
      // Without a firewall the application can be reached, and the third port turns B away itself.
      expect(JSON.parse(await told(before))).toEqual(["closed", "open"]);
      ip("netns", "exec", a, "nft", FIREWALL);
      const remote = elsewhere("all", ...ports, application);
      running.push(remote);
      expect(JSON.parse(await told(remote))).toEqual({
        answers: 100,
        heard: 50,
        sockets: [10_000, 10_001],
        trials: ["EHOSTUNREACH", "EHOSTUNREACH"],
      });
    } finally {
      for (const each of running) each.kill("SIGTERM");
      await Promise.all(running.map((each) => each.exitCode ?? once(each, "exit")));
    }
  });
});
