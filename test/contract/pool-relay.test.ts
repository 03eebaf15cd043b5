import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { silent } from "../../src/core/log.ts";
import { openTls } from "../../src/net/live-tls.ts";
import { readTls } from "../../src/net/tls.ts";
import { poolAgent } from "../../src/relay/agent/agent.ts";
import type { Engine } from "../../src/relay/engine.ts";
import { openStreamEngine } from "../../src/relay/stream/engine.ts";
import { Authority } from "../support/certificates.ts";
import { engines } from "../support/engines.ts";
import { hello, message, PoolBed } from "../support/pool-bed.ts";
import { field } from "../support/protobuf.ts";
import { until } from "../support/until.ts";
import { Ear, openDescriptors, say } from "../support/wires.ts";

const text = (bytes: Buffer): string => bytes.toString("latin1");
const QUEUE = { queue_max: 10, needs_listener: false };
const FREELY = { needs_listener: false };

describe.each(engines)("a RelayServer relay, $name", ({ open: openEngine }) => {
  let engine: Engine;
  let bed: PoolBed;
  beforeAll(async () => {
    engine = await openEngine();
  });
  afterAll(async () => {
    await engine[Symbol.asyncDispose]();
  });
  afterEach(async () => {
    await bed[Symbol.asyncDispose]();
  });
  const open = async (wanted: Parameters<typeof PoolBed.open>[1] = {}): Promise<PoolBed> => {
    bed = await PoolBed.open(engine, wanted);
    return bed;
  };
  const listening = async (said?: Buffer, from?: string) => {
    const { listeners } = bed.relay.count;
    const commands = await bed.listen(said, from);
    await until(() => bed.relay.count.listeners > listeners, "the relay knows who listens");
    return commands;
  };

  it("speaks in the ancestor's bytes", async () => {
    const { relay } = await open();
    const host = await bed.dial("data");
    const commands = await listening();
    const said = (socket: typeof host): Promise<Buffer> =>
      new Promise((resolve) => socket.once("data", resolve));
    host.write(Buffer.from("000000020801", "hex"));
    const port = Buffer.from(`${relay.ports.client}`).toString("hex");
    const body = `080012093132372e302e302e311a${"0123456789"[port.length / 2]?.padStart(2, "0")}${port}`;
    const length = (body.length / 2).toString(16).padStart(8, "0");
    expect((await said(host)).toString("hex")).toBe(length + body);
    const { socket } = await bed.client();
    expect((await commands.ear.hears(12)).toString("hex")).toBe("00000008080110001a020800");
    socket.resetAndDestroy();
    expect((await commands.ear.hears(24)).toString("hex", 12)).toBe("000000080801100122020800");
  });

  it("counts sessions from 0, gives each client the oldest, and says which port is theirs", async () => {
    await open({ terms: FREELY });
    const hosts = [await bed.host(), await bed.host(), await bed.host()];
    expect(hosts.map(({ session }) => session)).toEqual([0, 1, 2]);
    expect(hosts[0]?.relay).toBe(`127.0.0.1:${bed.relay.ports.client}`);
    for (const [index, host] of hosts.entries()) {
      const { socket, ear } = await bed.client();
      await say(socket, `client ${index}`);
      expect(text(await host.heard(8))).toBe(`client ${index}`);
      await say(host.socket, `host ${index}`);
      expect(text(await ear.hears(6))).toBe(`host ${index}`);
    }
    await bed.counts(0, 0, 3);
  });

  it("reads a hello byte by byte, and leaves what comes behind it to the client", async () => {
    await open({ terms: FREELY });
    const slow = await bed.dial("data");
    for (const byte of hello()) await say(slow, Buffer.from([byte]));
    await bed.counts(1, 0, 0);
    await bed.host(Buffer.concat([hello(), Buffer.from("220 ready")]));
    const first = await bed.client();
    const second = await bed.client();
    expect(text(await second.ear.hears(9))).toBe("220 ready");
    slow.write("and I");
    expect(text(await first.ear.hears(5))).toBe("and I");
  });

  it("refuses a client with an end and no byte while nobody waits, or nobody listens", async () => {
    await open();
    const host = await bed.host();
    const unheard = await bed.client();
    expect(await unheard.ear.hearsTheEnd()).toBe("end");
    await listening();
    const served = await bed.client();
    await say(served.socket, "x");
    await host.heard(1);
    const late = await bed.client();
    expect(await late.ear.hearsTheEnd()).toBe("end");
    expect([unheard.ear.size, late.ear.size]).toEqual([0, 0]);
  });

  it("serves ten at once, and the eleventh waits for its turn where it may", async () => {
    await open({ terms: QUEUE });
    for (let i = 0; i < 10; i += 1) await bed.host();
    const clients = await Promise.all(Array.from({ length: 10 }, () => bed.client()));
    await bed.counts(0, 0, 10);
    const eleventh = await bed.client();
    await say(eleventh.socket, "still me");
    await bed.counts(0, 1, 10);
    clients[3]?.socket.resetAndDestroy();
    const host = await bed.host();
    expect(text(await host.heard(8))).toBe("still me");
    await bed.counts(0, 0, 10);
  });

  it("serves those who wait in their order, with all that they said, also if it was all", async () => {
    await open({ terms: QUEUE });
    const clients = [await bed.client(), await bed.client(), await bed.client()];
    for (const [index, { socket }] of clients.entries()) {
      await say(socket, `client ${index}`);
      await bed.counts(0, 3, 0);
    }
    clients[1]?.socket.end();
    for (const [index, { ear }] of clients.entries()) {
      const host = await bed.host();
      expect(text(await host.heard(8))).toBe(`client ${index}`);
      if (index === 1) expect(await host.ear.hearsTheEnd()).toBe("end");
      host.socket.end("answer");
      expect(text(await ear.hears(6))).toBe("answer");
      expect(await ear.hearsTheEnd()).toBe("end");
    }
  });

  it("lets only so many of one address wait, and others still", async () => {
    await open({ terms: { ...QUEUE, queue_per_source_max: 1 } });
    await bed.client();
    await bed.counts(0, 1, 0);
    const { ear } = await bed.client();
    expect(await ear.hearsTheEnd()).toBe("end");
    expect(bed.lines).toMatchObject([{ msg: "refused", why: "full", source: "127.0.0.1" }]);
    await bed.client("127.0.0.2");
    await bed.counts(0, 2, 0);
  });

  it("lets nobody wait longer than the queue is patient, nor more than may", async () => {
    await open({ terms: { ...QUEUE, queue_max: 1, patience_ms: 150 } });
    const [first, second] = [await bed.client(), await bed.client()];
    expect(await second.ear.hearsTheEnd()).toBe("end");
    expect(await first.ear.hearsTheEnd()).toBe("end");
    const told = bed.lines.map(({ msg, why }) => `${msg} ${why ?? ""}`.trim());
    expect(told).toEqual(["refused full", "nobody came to meet"]);
    await bed.counts(0, 0, 0);
  });

  it("forgets a client that hung up while it waited", async () => {
    await open({ terms: QUEUE });
    const { socket } = await bed.client();
    await bed.counts(0, 1, 0);
    socket.resetAndDestroy();
    await bed.counts(0, 0, 0);
  });

  it("tells of each client that comes and goes, in order", async () => {
    await open();
    const commands = await listening();
    const hosts = [await bed.host(), await bed.host()];
    const one = await bed.client();
    const two = await bed.client();
    await bed.counts(0, 0, 2);
    two.socket.resetAndDestroy();
    await commands.hears(3);
    one.socket.resetAndDestroy();
    expect(await commands.hears(4)).toEqual(["open 0", "open 1", "drop 1", "drop 0"]);
    for (const { ear } of hosts) await ear.hearsTheEnd();
    await bed.counts(0, 0, 0);
  });

  it("hangs up on a client whose host left, and announces nothing", async () => {
    await open();
    const commands = await listening();
    const host = await bed.host();
    const { socket, ear } = await bed.client();
    await bed.counts(0, 0, 1);
    await say(host.socket, "bye");
    host.socket.end();
    expect(await ear.hearsTheEnd()).toBe("end");
    expect(text(ear.bytes)).toBe("bye");
    socket.end();
    await bed.counts(0, 0, 0);
    expect(commands.all).toEqual(["open 0"]);
  });

  it("uses a connection once: what it says after its client left is nobody's [R1]", async () => {
    await open();
    await listening();
    const host = await bed.host();
    const first = await bed.client();
    await bed.counts(0, 0, 1);
    first.socket.resetAndDestroy();
    expect(await host.ear.hearsTheEnd()).toBe("ECONNRESET");
    host.socket.write(hello());
    await bed.counts(0, 0, 0);
    const second = await bed.client();
    expect(await second.ear.hearsTheEnd()).toBe("end");
  });

  it.each([
    { what: "bytes", said: Buffer.from("one more thing") },
    { what: "another hello", said: hello() },
  ])("gives nobody a host that says $what after its client has said all [R1]", async ({ said }) => {
    await open();
    await listening();
    const host = await bed.host();
    const first = await bed.client();
    first.socket.end("x");
    expect(text(await host.heard(1))).toBe("x");
    expect(await host.ear.hearsTheEnd()).toBe("end");
    await say(host.socket, said);
    expect(await first.ear.hears(said.length)).toEqual(said); // it is still the first client's
    const second = await bed.client();
    expect(await second.ear.hearsTheEnd()).toBe("end");
    host.socket.end();
    await bed.counts(0, 0, 0);
    expect(text(await host.heard(0))).toBe("x");
  });

  it("refuses nobody when an old channel closes, as long as another listens [R6]", async () => {
    await open();
    const [old] = [await listening(), await listening()];
    await bed.host();
    old?.socket.destroy();
    await until(() => bed.relay.count.listeners === 1, "the old channel is gone");
    const { socket, ear } = await bed.client();
    await say(socket, "x");
    await bed.counts(0, 0, 1);
    expect(ear.ending).toBeUndefined();
  });

  it("goes on telling the older of two channels when the newer closes, and then nobody", async () => {
    await open();
    const [older, newer] = [await listening(), await listening()];
    newer.socket.end();
    expect(await newer.ear.hearsTheEnd()).toBe("end");
    await bed.host();
    await bed.client();
    expect(await older.hears(1)).toEqual(["open 0"]);
    older.socket.resetAndDestroy();
    await until(() => bed.relay.count.listeners === 0, "nobody listens");
    await bed.host();
    const { ear } = await bed.client();
    expect(await ear.hearsTheEnd()).toBe("end");
    await bed.counts(1, 0, 1);
  });

  it("tells only those of its clients whose they are [R10]", async () => {
    await open();
    const mine = await listening(hello({ owner: "mine" }));
    const other = await listening(hello({ owner: "other" }));
    const neighbour = await listening(undefined, "127.0.0.2");
    await until(() => bed.relay.count.listeners === 3, "three listen");
    await bed.host(hello({ owner: "mine" }));
    const { socket } = await bed.client();
    await mine.hears(1);
    socket.resetAndDestroy();
    expect(await mine.hears(2)).toEqual(["open 0", "drop 0"]);
    await bed.host(hello({ owner: "other" }));
    await bed.client();
    expect(await other.hears(1)).toEqual(["open 1"]);
    expect(mine.all).toHaveLength(2);
    expect(neighbour.all).toEqual([]);
  });

  it("hands out no connection that was closed while it waited, whatever it had said", async () => {
    await open({ terms: FREELY });
    const talkative = await bed.host(Buffer.concat([hello(), Buffer.from("hello?")]));
    const ended = await bed.host();
    const alive = await bed.host();
    await bed.counts(3, 0, 0);
    talkative.socket.resetAndDestroy();
    ended.socket.end();
    await bed.counts(1, 0, 0);
    const { socket } = await bed.client();
    await say(socket, "x");
    expect(text(await alive.heard(1))).toBe("x");
  });

  it("hangs up on a host that says more than a little while nobody hears it [R11]", async () => {
    await open({ terms: FREELY });
    const host = await bed.host();
    host.socket.write(Buffer.alloc(65_536));
    await bed.counts(1, 0, 0);
    host.socket.write(Buffer.alloc(65_536));
    await bed.counts(0, 0, 0);
    await host.ear.hearsTheEnd();
  });

  it("keeps all that a host may say early for its client, and forgets it with the host", async () => {
    await open({ terms: FREELY });
    const early = Buffer.alloc(65_536, "early");
    const gone = await bed.host();
    gone.socket.end("unread");
    await bed.counts(0, 0, 0);
    const host = await bed.host();
    await say(host.socket, early);
    const { ear } = await bed.client();
    expect((await ear.hears(early.length)).equals(early)).toBe(true);
  });

  it("passes an end on, and a break as a break", async () => {
    await open({ terms: FREELY });
    const asked = await bed.host();
    const asking = await bed.client();
    asking.socket.end("that is all");
    expect(text(await asked.heard(11))).toBe("that is all");
    expect(await asked.ear.hearsTheEnd()).toBe("end");
    asked.socket.end("and the answer");
    expect(text(await asking.ear.hears(14))).toBe("and the answer");
    const broken = await bed.host();
    const client = await bed.client();
    await bed.counts(0, 0, 1);
    broken.socket.resetAndDestroy();
    expect(await client.ear.hearsTheEnd()).toBe("ECONNRESET");
  });

  it.each([
    { what: "of another version", said: hello({ version: 2 }) },
    { what: "that is as long as a gigabyte", said: Buffer.from("40000000", "hex") },
    { what: "of another protocol", said: Buffer.from("GET / HTTP/1.1\r\n\r\n") },
    { what: "without a version", said: message(field(11, "ssh")) },
    { what: "that is no protobuf", said: message(Buffer.from([0xff, 0xff, 0xff])) },
  ])("hangs up on a hello $what, and goes on", async ({ said }) => {
    await open({ terms: FREELY });
    expect(await bed.isTurnedAway("data", said)).toBe("0 bytes, end");
    expect(bed.lines.at(-1)).toMatchObject({ msg: "refused", why: "malformed", door: "pool" });
    await bed.host();
    await bed.counts(1, 0, 0);
  });

  it("hangs up on strangers who are silent, and lets in only so many of them", async () => {
    await open({ strangers: { hello_timeout_ms: 150, strangers_per_source_max: 1 } });
    const silence = Buffer.alloc(0);
    const ends = [bed.isTurnedAway("data", silence), bed.isTurnedAway("data", silence)];
    expect(await Promise.all(ends)).toEqual(["0 bytes, end", "0 bytes, end"]);
    expect(bed.lines.map(({ why }) => why)).toEqual(["source_crowd", "silent"]);
  });

  it("lets only so many strangers in from everywhere, and forgets those who have said hello", async () => {
    await open({ terms: FREELY, strangers: { strangers_max: 1 } });
    const first = await bed.dial("data");
    await until(
      async () => (await bed.samples()).get('eps_broker_strangers{door="pool"}') === 1,
      "one is inside",
    );
    const ear = new Ear(await bed.dial("data", "127.0.0.2"));
    await ear.hearsTheEnd();
    expect(bed.lines).toMatchObject([{ why: "crowd", source: "127.0.0.2" }]);
    await say(first, hello());
    await bed.counts(1, 0, 0);
    await bed.host(hello(), "127.0.0.2");
  });

  it("lets only so many listen, and none who is silent where a token is asked for", async () => {
    await open({ listeners_max: 1 });
    const one = await listening();
    const ear = new Ear(await bed.dial("command"));
    await ear.hearsTheEnd();
    expect([one.ear.ending, bed.relay.count.listeners]).toEqual([undefined, 1]);
    await bed[Symbol.asyncDispose]();
    await open({ tokens: ["s3cret"], strangers: { hello_timeout_ms: 100 } });
    expect(await bed.isTurnedAway("command", Buffer.alloc(0))).toBe("0 bytes, end");
    expect(bed.lines).toMatchObject([{ msg: "refused", why: "silent" }]);
  });

  it("lets in only as many from one address as may come in a while", async () => {
    await open({ terms: FREELY, strangers: { rate_limits: [{ type: "minute", limit: 1 }] } });
    await bed.host();
    expect(await bed.isTurnedAway("data", hello())).toBe("0 bytes, end");
    await bed.host(hello(), "127.0.0.2");
    expect(bed.lines).toEqual([expect.objectContaining({ why: "rate", source: "127.0.0.1" })]);
  });

  it("lets only so many wait, of one agent and in all", async () => {
    await open({ terms: { ...FREELY, offers_per_owner_max: 1, offers_max: 2 } });
    await bed.host(hello({ owner: "a" }));
    await bed.host(hello({ owner: "b" }));
    for (const owner of ["a", "c"]) {
      expect(await bed.isTurnedAway("data", hello({ owner }))).toBe("0 bytes, end");
    }
    expect(bed.lines.map(({ why }) => why)).toEqual(["full", "full"]);
  });

  it.each([
    { what: "without a token", said: hello() },
    { what: "with a wrong token", said: hello({ token: "opensesame" }) },
    { what: "for another pool", said: hello({ token: "s3cret", service: "web" }) },
  ])("lets in no agent $what, neither to serve nor to listen", async ({ said }) => {
    await open({ tokens: ["other", "s3cret"], terms: FREELY });
    for (const port of ["data", "command"] as const) {
      expect(await bed.isTurnedAway(port, said)).toBe("0 bytes, end");
      expect(bed.lines.at(-1)).toMatchObject({ why: "forbidden" });
    }
    expect(JSON.stringify(bed.lines)).not.toMatch(/s3cret|opensesame/);
    expect(bed.relay.count).toMatchObject({ offers: 0, listeners: 0 });
    await bed.host(hello({ token: "s3cret", service: "ssh" }));
    await listening(hello({ token: "s3cret" }));
  });

  it("knows agents by their tokens, so that one cannot hear of another's clients [streamq 210]", async () => {
    await open({ tokens: ["red", "blue"] });
    const red = await listening(hello({ token: "red", owner: "me" }));
    const blue = await listening(hello({ token: "blue", owner: "me" }));
    await bed.host(hello({ token: "blue", owner: "me" }));
    await bed.client();
    expect(await blue.hears(1)).toEqual(["open 0"]);
    expect(red.all).toEqual([]);
  });

  it("gives nobody a connection while it is suspended, and leaves those alone that have one", async () => {
    await open({ terms: QUEUE });
    const [first, second] = [await bed.host(), await bed.host()];
    const had = await bed.client();
    await bed.counts(1, 0, 1);
    bed.relay.suspend();
    const queued = await bed.client();
    await say(queued.socket, "later");
    await bed.counts(1, 1, 1);
    await say(had.socket, "now");
    expect(text(await first.heard(3))).toBe("now");
    bed.relay.resume();
    expect(text(await second.heard(5))).toBe("later");
  });

  it("gives clients what servers said while they waited, also without an agent [streamq 140, 170]", async () => {
    await open({ terms: QUEUE, worker: true });
    const worker = await bed.dial("worker");
    await bed.counts(1, 0, 0);
    worker.write("220 hello");
    const { socket, ear } = await bed.client();
    expect(text(await ear.hears(9))).toBe("220 hello");
    socket.end("bye");
    expect(text(await new Ear(worker).hears(3))).toBe("bye");
  });

  it("tells each pair as a circuit, and counts what there is [streamq 120]", async () => {
    await open({ terms: QUEUE });
    const host = await bed.host();
    await bed.host();
    const { socket } = await bed.client();
    const caller = `127.0.0.1:${socket.localPort}`;
    const server = `127.0.0.1:${host.socket.localPort}`;
    await say(socket, "ping");
    await host.heard(4);
    const now = await bed.samples();
    const there = (what: string) => now.get(`eps_broker_pool{pool="ssh",what="${what}"}`);
    expect(["offers", "demands", "matches"].map(there)).toEqual([1, 0, 1]);
    expect(now.get('eps_broker_circuits_open{door="pool"}')).toBe(1);
    host.socket.end();
    socket.end();
    await bed.counts(1, 0, 0);
    await until(() => bed.lines.length === 2, "the circuit is told");
    expect(bed.lines).toMatchObject([
      { msg: "circuit open", door: "pool", caller, callee: "ssh", server, session: 0 },
      { msg: "circuit ended", ending: "done", session: 0, bytes_from_caller: 4 },
    ]);
  });

  it("holds nothing of pairs that are over", async () => {
    await open({ terms: QUEUE });
    const before = openDescriptors();
    for (let i = 0; i < 200; i += 50) {
      const hosts = await Promise.all(Array.from({ length: 50 }, () => bed.host()));
      const clients = await Promise.all(Array.from({ length: 50 }, () => bed.client()));
      for (const { socket } of clients) socket.end("bye");
      for (const host of hosts) {
        expect(text(await host.heard(3))).toBe("bye");
        host.socket.end();
      }
      for (const { ear } of clients) await ear.hearsTheEnd();
    }
    await bed.counts(0, 0, 0);
    await until(() => (openDescriptors() ?? 0) <= (before ?? 0), "every descriptor is closed");
    const now = await bed.samples();
    expect(now.get('eps_broker_circuits_total{door="pool",ending="done"}')).toBe(200);
    expect(now.get('eps_broker_circuits_open{door="pool"}')).toBe(0);
    expect(now.get('eps_broker_strangers{door="pool"}')).toBe(0);
  });

  it("hangs up on all who wait when it closes, by an end", async () => {
    await open({ terms: QUEUE });
    const host = await bed.host();
    const commands = await listening();
    bed.relay.suspend();
    const { ear } = await bed.client();
    await bed.counts(1, 1, 0);
    await bed.relay[Symbol.asyncDispose]();
    expect(await host.ear.hearsTheEnd()).toBe("end");
    expect(await ear.hearsTheEnd()).toBe("end");
    await commands.ear.hearsTheEnd();
  });
});

describe("a relay whose agents come by TLS", () => {
  let authority: Authority;
  beforeAll(async () => {
    authority = await Authority.open();
  });
  afterAll(async () => {
    await authority[Symbol.asyncDispose]();
  });

  it("knows them by their certificates, which no hello can claim, and clients need none", async () => {
    const settings = await authority.issue("relay.local");
    await using files = await openTls({ ...settings, verify_client: true }, { log: silent });
    await using engine = openStreamEngine();
    const tls = { settings: { ...settings, verify_client: true }, files };
    await using bed = await PoolBed.open(engine, { tls, terms: { policies: ["least-used"] } });
    const { data, command } = bed.relay.ports;
    const agentOf = async (name: string, greets: string) =>
      poolAgent({
        relay: `127.0.0.1:${data}`,
        commands: `127.0.0.1:${command}`,
        tls: {
          material: await readTls(await authority.issue(name)),
          name: "relay.local",
          skip_verify: false,
        },
        size: 2,
        handler: (stream) => void stream.end(greets),
      });
    await using _one = await agentOf("agent-1", "I am one");
    await bed.counts(2, 0, 0);
    await using _two = await agentOf("agent-2", "I am two");
    await bed.counts(4, 0, 0);
    await until(() => bed.relay.count.listeners === 2, "both listen");
    const answers = await Promise.all(
      [1, 2].map(async () => {
        const { socket, ear } = await bed.client();
        const answer = text(await ear.hears(8));
        socket.end();
        return answer;
      }),
    );
    expect(answers.sort()).toEqual(["I am one", "I am two"]); // two owners, used in turn
    await bed.counts(4, 0, 0);
    expect(await bed.isTurnedAway("data", hello())).toMatch(/^\d+ bytes, end$/); // an alert at most
    expect(bed.lines.at(-1)).toMatchObject({ msg: "refused", why: "malformed" });
    expect(bed.relay.count.offers).toBe(4);
  });
});
