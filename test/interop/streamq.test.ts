import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import { createInterface } from "node:readline";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import * as zmq from "zeromq";
import { poolAgent } from "../../src/relay/agent/agent.ts";
import { forward } from "../../src/relay/agent/targets.ts";
import type { Engine } from "../../src/relay/engine.ts";
import { engines } from "../support/engines.ts";
import { PoolBed } from "../support/pool-bed.ts";
import { describeWithPython, PYTHON } from "../support/tools.ts";
import { until } from "../support/until.ts";
import { dialFreely } from "../support/wires.ts";
import { CLIENT, SERVER, ZmqPeers } from "../support/zmq.ts";

const TERMS = { queue_max: 1_000, queue_per_source_max: 1_000, needs_listener: false };
const GATE = { handshake_timeout_ms: 20_000, failures_max: 100, ban_ms: 1_000 };

let engine: Engine;
let bed: PoolBed;
let peers: ZmqPeers;
beforeAll(async () => {
  const best = engines.at(-1) as (typeof engines)[number];
  engine = await best.open();
});
afterAll(async () => {
  await engine[Symbol.asyncDispose]();
});
beforeEach(() => {
  peers = new ZmqPeers();
});
afterEach(async () => {
  await peers[Symbol.asyncDispose]();
  await bed[Symbol.asyncDispose]();
});

const open = async (terms: object = {}, gate: { gate?: typeof GATE } = { gate: GATE }) => {
  bed = await PoolBed.open(engine, { terms: { ...TERMS, ...terms }, worker: true, ...gate });
};
const at = (port: "client" | "worker", from = ""): string =>
  `tcp://${from && `${from}:0;`}127.0.0.1:${bed.relay.ports[port]}`;
const ask = (...question: string[]) => peers.ask(at("client"), question);
/** Workers that dial in, over so many connections in all. */
const dialIn = async (names: Record<string, number>): Promise<Record<string, zmq.Router>> => {
  const workers: Record<string, zmq.Router> = {};
  const { offers } = bed.relay.count;
  for (const [name, size] of Object.entries(names)) {
    const worker = peers.worker(name);
    for (let i = 0; i < size; i += 1) worker.connect(at("worker"));
    workers[name] = worker;
  }
  const all = Object.values(names).reduce((sum, size) => sum + size, offers);
  await until(() => bed.relay.count.offers === all, `${all} connections wait`);
  return workers;
};
/** A worker that listens, and an agent beside it. */
const behindAgent = async (name: string, size: number): Promise<AsyncDisposable> => {
  const worker = peers.worker(name);
  await worker.bind("tcp://127.0.0.1:*");
  const port = Number(/\d+$/.exec(worker.lastEndpoint ?? "")?.[0]);
  const { data, command } = bed.relay.ports;
  const where = { relay: `127.0.0.1:${data}`, commands: `127.0.0.1:${command}` };
  const handler = forward("127.0.0.1", port);
  const { offers } = bed.relay.count;
  const agent = poolAgent({ ...where, size, handler, drain_ms: 0 });
  await until(() => bed.relay.count.offers === offers + size, "its connections wait");
  return agent;
};

describe("ZeroMQ peers with CURVE, through a relay without keys", () => {
  it("talk as if they were connected to each other [streamq 100, 150, 190]", async () => {
    await open();
    await dialIn({ worker: 1 });
    const client = peers.client(at("client"));
    const big = randomBytes(5 * 1024 * 1024).toString("latin1");
    for (const question of [["x"], ["one", "", "three"], [big]]) {
      await client.send(question.map((part) => Buffer.from(part, "latin1")));
      const [name, ...echo] = await client.receive();
      expect(`${name}`).toBe("worker");
      expect(echo.map((part) => part.toString("latin1"))).toEqual(question);
    }
    expect(bed.lines).toMatchObject([{ msg: "circuit open", door: "zmtp" }]);
  });

  it("are asked who they are by the worker itself, and only the right client is let in [streamq 100]", async () => {
    await open();
    const seen: string[] = [];
    const handler = peers.hold(new zmq.Reply());
    await handler.bind("inproc://zeromq.zap.01");
    const decide = async (): Promise<void> => {
      for await (const [version = "", id = "", , , , mechanism, key] of handler) {
        const hex = key?.toString("hex") ?? "";
        seen.push(`${mechanism} ${hex}`);
        const good = hex === z85decode(CLIENT.publicKey).toString("hex");
        const answer = good ? ["200", "OK", hex, ""] : ["400", "unknown key", "", ""];
        await handler.send([version, id, ...answer]);
      }
    };
    void decide().catch(() => {});
    const worker = peers.worker("worker", { more: { zapDomain: "test" } });
    worker.connect(at("worker"));
    await until(() => bed.relay.count.offers === 1, "it waits");
    const other = zmq.curveKeyPair();
    const stranger = { curvePublicKey: other.publicKey, curveSecretKey: other.secretKey };
    const refused = peers.client(at("client"), { more: { ...stranger, receiveTimeout: 200 } });
    await refused.send("let me in");
    await expect(refused.receive()).rejects.toMatchObject({ code: "EAGAIN" });
    peers.release(refused);
    await peers.worker("worker", { more: { zapDomain: "test" } }).connect(at("worker"));
    expect(await ask("it is me")).toEqual(["worker", "it is me"]);
    expect(new Set(seen)).toEqual(
      new Set([other, CLIENT].map((keys) => `CURVE ${z85decode(keys.publicKey).toString("hex")}`)),
    );
    peers.release(handler);
  });

  it("are each served, a hundred on ten connections, in the order in which they came [streamq 130, 160]", async () => {
    await open();
    await dialIn({ a: 4, b: 3, c: 3 });
    bed.relay.suspend();
    const answers: Promise<string[]>[] = [];
    for (let i = 0; i < 100; i += 1) {
      answers.push(peers.ask(at("client", `127.0.1.${i}`), [`question ${i}`]));
      await until(() => bed.relay.count.demands === i + 1, "it waits");
    }
    bed.relay.resume();
    const told = await Promise.all(answers);
    expect(told.map(([, echo]) => echo)).toEqual(told.map((_, i) => `question ${i}`));
    expect(new Set(told.map(([name]) => name))).toEqual(new Set(["a", "b", "c"]));
    const served = bed.lines
      .filter(({ msg }) => msg === "circuit open")
      .map(({ caller }) => Number(/^127\.0\.1\.(\d+):/.exec(`${caller}`)?.[1]));
    expect(served).toHaveLength(100);
    // Handshakes may end in another order than they began; in a random one it would be 33 places.
    const moved = served.reduce((sum, came, at) => sum + Math.abs(at - came), 0) / served.length;
    expect(moved).toBeLessThan(10);
  });

  it("are served although idle peers dial again and again, as libzmq does [streamq 230]", async () => {
    await open();
    const hasty = { handshakeInterval: 150 };
    for (let i = 0; i < 4; i += 1) peers.worker("hasty", { more: hasty }).connect(at("worker"));
    await until(() => bed.relay.count.offers === 4, "they wait");
    let dialled = 0;
    for (let i = 0; i < 30; i += 1) {
      const { offers } = bed.relay.count;
      if (i % 10 === 0) {
        await until(() => bed.relay.count.offers !== offers, "one dials anew");
        dialled += 1;
      }
      expect(await ask(`${i}`)).toEqual(["hasty", `${i}`]);
    }
    expect(dialled).toBe(3);
  });

  it("are served although they dialled again and again while nobody was there for them [streamq 230]", async () => {
    await open();
    const hasty = { handshakeInterval: 150 };
    const answers = Array.from({ length: 10 }, (_, i) =>
      peers.ask(at("client"), [`${i}`], { more: hasty }),
    );
    await until(() => bed.relay.count.demands === 10, "all wait");
    await until(() => bed.relay.count.demands < 10, "one is gone");
    peers.worker("late").connect(at("worker"));
    expect(await Promise.all(answers)).toEqual(answers.map((_, i) => ["late", `${i}`]));
    await until(() => bed.relay.count.demands + bed.relay.count.matches === 0, "nothing is left");
  });

  it("pair again by themselves after either of them is gone, in whatever state [streamq 230]", async () => {
    await open();
    const { first } = await dialIn({ first: 1 });
    const client = peers.client(at("client"));
    await client.send("one");
    expect(`${(await client.receive())[0]}`).toBe("first");
    const queued = ask("two");
    await until(() => bed.relay.count.demands === 1, "another waits");
    peers.release(first as zmq.Router); // established
    await until(() => bed.relay.count.matches === 0, "they are parted");
    const second = peers.worker("second");
    second.connect(at("worker"));
    expect(await queued).toEqual(["second", "two"]);
    const back = (): number => bed.relay.count.demands + bed.relay.count.matches;
    await until(() => back() === 1, "the first client dialled again");
    second.connect(at("worker"));
    await client.send("three");
    expect(String((await client.receive())[1])).toBe("three");
  });

  it.each(["least-used", "sticky"] as const)(
    "choose by policy: %s [streamq 160]",
    async (policy) => {
      await open({ policies: [policy, "fifo"] });
      const one = peers.worker("one");
      const two = peers.worker("two");
      for (let i = 0; i < 3; i += 1) one.connect(at("worker", "127.0.0.2"));
      await until(() => bed.relay.count.offers === 3, "they wait");
      for (let i = 0; i < 3; i += 1) two.connect(at("worker", "127.0.0.3"));
      await until(() => bed.relay.count.offers === 6, "all wait");
      const names: string[] = [];
      for (let i = 0; i < 4; i += 1) {
        const [name = ""] = await peers.ask(at("client", "127.0.0.9"), ["x"]);
        names.push(name);
        await until(() => bed.relay.count.offers === 6, "its connection was replaced");
      }
      const expected = { "least-used": ["one", "two", "one", "two"], sticky: Array(4).fill("one") };
      expect(names).toEqual(expected[policy]);
    },
  );

  it("without security work where there is no gate [streamq 140, 170, 220]", async () => {
    await open({}, {});
    peers.worker("open", { plain: true }).connect(at("worker"));
    await until(() => bed.relay.count.offers === 1, "it waits");
    const answer = await peers.ask(at("client"), ["hello"], { plain: true });
    expect(answer).toEqual(["open", "hello"]);
    expect(bed.lines[0]).toMatchObject({ door: "pool" });
  });
});

type Hostile = { who: string; come: () => Promise<unknown> };
const talker = (who: string, said: () => Buffer): Hostile => ({
  who,
  come: async () => {
    const socket = await dialFreely(bed.relay.ports.client ?? 0);
    socket.resume().end(said());
    await once(socket, "close");
  },
});
const zmqClient = (who: string, options: object): Hostile => ({
  who,
  come: async () => {
    const refused = bed.lines.length;
    const client = peers.client(at("client"), options);
    await client.send("hello");
    await until(() => bed.lines.length > refused, "it was turned away");
    peers.release(client);
  },
});
const WRONG_KEY = zmqClient("a wrong server key", { server: zmq.curveKeyPair().publicKey });
const HOSTILE = [
  talker("a request for a web page", () => Buffer.from("GET / HTTP/1.1\r\n\r\n")),
  talker("200 random bytes behind FF", () => Buffer.concat([Buffer.from([255]), randomBytes(200)])),
  talker("half a greeting", () => Buffer.from("ff00000000000000017f0301", "hex")),
  zmqClient("no security", { plain: true }),
];

describe("a client that comes with", () => {
  it.each(HOSTILE)("$who costs workers that dialled in nothing", async ({ come }) => {
    await open();
    await dialIn({ worker: 2 });
    await come();
    expect(bed.relay.count.offers).toBe(2);
    expect(await ask("and now")).toEqual(["worker", "and now"]);
  });

  it("a wrong server key costs one connection of workers that dialled in, and no more", async () => {
    await open();
    await dialIn({ worker: 2 });
    await WRONG_KEY.come();
    await until(() => bed.relay.count.offers === 1, "one is left");
    expect(await ask("and now")).toEqual(["worker", "and now"]);
  });

  it("a wrong server key again and again costs as many as it may fail, and then it has to wait", async () => {
    await open({}, { gate: { ...GATE, failures_max: 2, ban_ms: 60_000 } });
    await dialIn({ worker: 4 });
    const client = peers.client(at("client"), { server: zmq.curveKeyPair().publicKey });
    await client.send("hello");
    await until(() => bed.lines.filter(({ why }) => why === "banned").length > 2, "it comes again");
    expect(bed.relay.count.offers).toBe(2);
    const answer = await peers.ask(at("client", "127.0.0.2"), ["from another place"]);
    expect(answer).toEqual(["worker", "from another place"]);
  });

  it.each([...HOSTILE, WRONG_KEY])(
    "$who costs workers behind an agent nothing",
    async ({ come }) => {
      await open();
      await using _agent = await behindAgent("bound", 4);
      await come();
      await until(() => bed.relay.count.offers === 4, "all connections wait again");
      expect(await ask("and now")).toEqual(["bound", "and now"]);
    },
  );
});

describe("whoever is between a client and the relay", () => {
  /** Passes on what it changes, from the relay to the client. */
  const between = async (change: (chunk: Buffer) => Buffer) => {
    const server = createServer(async (client: Socket) => {
      const relay = await dialFreely(bed.relay.ports.client ?? 0);
      client
        .on("error", () => {})
        .on("close", () => relay.destroy())
        .pipe(relay);
      relay.on("data", (chunk) => client.write(change(chunk))).on("end", () => client.end());
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    return { server, port: (server.address() as { port: number }).port };
  };

  it.each([
    { what: "a bit of a message", flips: (chunk: Buffer) => chunk.length > 600 },
    { what: "the worker's WELCOME", flips: (chunk: Buffer) => chunk.includes("WELCOME") },
  ])("can change $what, and the client believes none of it", async ({ flips }) => {
    await open();
    await dialIn({ worker: 4 });
    let changed = 0;
    const { server, port } = await between((chunk) => {
      if (!flips(chunk)) return chunk;
      changed += 1;
      chunk.writeUInt8(chunk.readUInt8(chunk.length - 20) ^ 1, chunk.length - 20);
      return chunk;
    });
    const client = peers.client(`tcp://127.0.0.1:${port}`, { more: { receiveTimeout: 300 } });
    await client.send("x".repeat(1_000));
    await expect(client.receive()).rejects.toMatchObject({ code: "EAGAIN" });
    expect(changed).toBeGreaterThan(0);
    peers.release(client);
    await new Promise((resolve) => server.close(resolve));
  });

  it("can put another WELCOME of the same worker in its place, and the client believes none of it", async () => {
    await open();
    await dialIn({ worker: 4 });
    let recorded: Buffer | undefined;
    let replaced = 0;
    const { server, port } = await between((chunk) => {
      const at = chunk.indexOf("WELCOME") - 3;
      if (at < 0) return chunk;
      if (!recorded) recorded = Buffer.from(chunk.subarray(at, at + 170));
      else replaced += recorded.copy(chunk, at) / 170;
      return chunk;
    });
    const there = `tcp://127.0.0.1:${port}`;
    expect(await peers.ask(there, ["first"])).toEqual(["worker", "first"]);
    const client = peers.client(there, { more: { receiveTimeout: 300 } });
    await client.send("second");
    await expect(client.receive()).rejects.toMatchObject({ code: "EAGAIN" });
    expect(replaced).toBeGreaterThan(0);
    peers.release(client);
    await new Promise((resolve) => server.close(resolve));
  });
});

describeWithPython(["zmq"], "Debian's libzmq, from Python", () => {
  const running: ChildProcess[] = [];
  afterEach(async () => {
    for (const child of running.splice(0)) {
      if (child.exitCode === null && child.signalCode === null) {
        child.kill("SIGKILL");
        await once(child, "exit");
      }
    }
  });
  const start = async (role: "worker" | "client") => {
    const env = { SERVER_PUBLIC: SERVER.publicKey, SERVER_SECRET: SERVER.secretKey };
    const argv = ["test/interop/original/zmq-peer.py", role, at(role)];
    const child = spawn(PYTHON, argv, { env, stdio: ["pipe", "pipe", "inherit"] });
    running.push(child);
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    expect((await lines.next()).value).toBe("ready");
    return { child, lines };
  };

  it("asks a worker of another libzmq", async () => {
    await open();
    const worker = peers.hold(new zmq.Reply({ ...SERVING, linger: 0, handshakeInterval: 0 }));
    worker.connect(at("worker"));
    const { child, lines } = await start("client");
    for (const question of ["hello", "again"]) {
      child.stdin?.write(`${question}\n`);
      await worker.send(["node", ...(await worker.receive())]);
      expect((await lines.next()).value).toBe(`node ${question}`);
    }
  });

  it("answers as a worker, and is replaced when it is killed, waiting or at work [streamq 230]", async () => {
    await open();
    const { child: idle } = await start("worker");
    await until(() => bed.relay.count.offers === 1, "it waits");
    idle.kill("SIGKILL");
    await until(() => bed.relay.count.offers === 0, "it is missed");
    const { child } = await start("worker");
    await until(() => bed.relay.count.offers === 1, "another waits");
    const client = peers.hold(new zmq.Request({ ...ASKING, linger: 0, receiveTimeout: 10_000 }));
    client.connect(at("client"));
    await client.send("hello");
    expect((await client.receive()).map(String)).toEqual(["python", "hello"]);
    child.kill("SIGKILL");
    await start("worker");
    await until(() => bed.relay.count.matches === 1, "the client has another");
    await client.send("again");
    expect((await client.receive()).map(String)).toEqual(["python", "again"]);
  });
});

const SERVING = { curveServer: true, curveSecretKey: SERVER.secretKey };
const ASKING = {
  curveServerKey: SERVER.publicKey,
  curvePublicKey: CLIENT.publicKey,
  curveSecretKey: CLIENT.secretKey,
};

/** ZeroMQ RFC 32. */
function z85decode(text: string): Buffer {
  const letters =
    "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";
  const bytes = Buffer.alloc((text.length / 5) * 4);
  for (let i = 0; i < text.length; i += 5) {
    const value = [...text.slice(i, i + 5)].reduce((sum, c) => sum * 85 + letters.indexOf(c), 0);
    bytes.writeUInt32BE(value, (i / 5) * 4);
  }
  return bytes;
}
