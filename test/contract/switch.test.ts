import { randomBytes } from "node:crypto";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { curveKeyPair } from "zeromq";
import { silent } from "../../src/core/log.ts";
import { openMetrics } from "../../src/core/metrics.ts";
import { AllowList } from "../../src/relay/switch/allow.ts";
import { SwitchEvents } from "../../src/relay/switch/events.ts";
import { isOfThisMachine } from "../../src/relay/switch/port.ts";
import { PublisherProxy } from "../../src/relay/switch/publisher.ts";
import { ResponderProxy } from "../../src/relay/switch/router.ts";
import { loadZeromq, type ZeroMQ } from "../../src/relay/switch/zeromq.ts";
import { CameoPeers, PUBLISHER, responderName } from "../support/cameo.ts";
import { samples } from "../support/metrics.ts";
import { until } from "../support/until.ts";

const LIMITS = {
  high_water_mark: 1_000,
  message_max: 256 * 1024 * 1024,
  heartbeat_ms: 1_000,
  heartbeat_timeout_ms: 5_000,
  handshake_timeout_ms: 5_000,
  drain_timeout_ms: 0,
};
const metrics = openMetrics();
const events = new SwitchEvents({ log: silent, metrics });
const deps = { curve: undefined, events };
let zmq: ZeroMQ;
let peers: CameoPeers;

beforeAll(async () => {
  zmq = await loadZeromq();
});
afterEach(() => peers[Symbol.dispose]());

async function lost(which: string, why: string): Promise<number> {
  const told = samples(await metrics.metrics());
  return told.get(`eps_broker_switch_lost_total{switch="${which}",why="${why}"}`) ?? 0;
}

describe("the responder proxy", () => {
  const name = responderName("adder", 1);
  let proxy: ResponderProxy;
  let near: number;
  let far: number;

  beforeAll(async () => {
    proxy = await ResponderProxy.open(zmq, LIMITS, deps);
    ({ near, far } = proxy.ports);
  });
  afterAll(() => proxy[Symbol.asyncDispose]());

  it("brings 10,000 requests to whom they are for, and each answer to who asked [cameo 3]", async () => {
    peers = new CameoPeers();
    const names = Array.from({ length: 10 }, (_, index) => responderName("adder", index));
    for (const each of names)
      peers.responder(near, each, ([what = "", n = ""]) => [[`${each} ${what}`, n]]);
    const work = Array.from({ length: 20 }, async (_, index) => {
      const requester = peers.requester(index % 2 ? near : far);
      const to = names[index % names.length] ?? "";
      await requester.sync(to);
      for (let batch = 0; batch < 5; batch += 1) {
        const numbers = Array.from({ length: 100 }, (_, i) => `${batch * 100 + i}`);
        for (const n of numbers) await requester.send(to, `from ${index}`, n);
        for (const n of numbers)
          expect((await requester.receive()).map(String)).toEqual([`${to} from ${index}`, n]);
      }
    });
    await Promise.all(work);
  });

  it("is seen by peers as CAMEO's own is", async () => {
    peers = new CameoPeers();
    const seen: string[][] = [];
    const server = peers.hold(new zmq.Router({ routingId: "0:0", linger: 0 }));
    server.connect(`tcp://127.0.0.1:${near}`);
    const client = peers.hold(new zmq.Request({ linger: 0, receiveTimeout: 15_000 }));
    client.connect(`tcp://127.0.0.1:${far}`);
    await peers.requester(near).send("0:0", "so that the server is known to be there");
    const [via = "", , origin = ""] = await server.receive();
    await server.send([via, "", origin, "", "never read"]);
    await client.send(["0:0", "", '{"type":13}']);
    const request = await server.receive();
    seen.push(request.map(String));
    await server.send([request[0] ?? "", "", request[2] ?? "", "", "11001", "two"]);
    const answer = await client.receive();
    expect(seen[0]?.[0]).toBe("R");
    expect(seen[0]?.slice(3)).toEqual(["", '{"type":13}']);
    expect(answer.map(String)).toEqual(["0:0", "", "11001", "two"]);
  });

  it("passes on several answers, messages of two parts, and 100 MB [cameo 4, 5]", {
    timeout: 60_000,
  }, async () => {
    peers = new CameoPeers();
    peers.responder(near, name, (payload) => [payload, ["again", ...payload]]);
    const requester = peers.requester(far);
    await requester.sync(name);
    const large = randomBytes(100_000_000);
    await requester.send(name, "two parts", large);
    const [first, second] = [await requester.receive(), await requester.receive()];
    expect(first.length).toBe(2);
    expect(String(first[0])).toBe("two parts");
    expect(large.equals(first[1] ?? Buffer.alloc(0))).toBe(true);
    expect(second.map((part) => part.length)).toEqual([5, 9, 100_000_000]);
  });

  it("tells nobody that nobody is there, counts it, and finds who comes late [cameo 6]", async () => {
    peers = new CameoPeers();
    const late = responderName("late", 7);
    const requester = peers.requester(far);
    const before = await lost("responder", "unknown");
    await requester.send(late, "hello?");
    await until(async () => (await lost("responder", "unknown")) > before, "it is counted");
    requester.socket.receiveTimeout = 100;
    await expect(requester.socket.receive()).rejects.toThrow();
    peers.responder(near, late);
    await requester.sync(late);
    expect((await requester.ask(late, "there?")).map(String)).toEqual(["there?"]);
  });

  it("gives a name to who comes back with it while the old connection lingers [cameo 7]", async () => {
    peers = new CameoPeers();
    // Nobody is at the old connection's other end any more who would dial again.
    peers.responder(near, name, () => [["old"]], { reconnectInterval: -1 });
    const requester = peers.requester(far);
    await requester.sync(name);
    peers.responder(near, name, () => [["new"]]);
    // What is under way while the name changes hands is lost, as it is to any requester of CAMEO.
    requester.socket.receiveTimeout = 300;
    const who = () => requester.ask(name, "who?").then(String, () => "nobody");
    await until(async () => (await who()) === "new", "the one that came back is asked");
  });

  it("drops what is too short, and goes on", async () => {
    peers = new CameoPeers();
    peers.responder(near, name);
    const requester = peers.requester(far);
    await requester.sync(name);
    const before = await lost("responder", "malformed");
    await requester.socket.send(["", name, ""]);
    await requester.socket.send("one frame");
    await until(
      async () => (await lost("responder", "malformed")) === before + 2,
      "both are counted",
    );
    expect((await requester.ask(name, "still there?")).map(String)).toEqual(["still there?"]);
  });

  it.each(["0:0", name])("lets nobody from elsewhere be %s [cameo 11]", async (taken) => {
    peers = new CameoPeers();
    const requester = peers.requester(far);
    let heard = 0;
    const rogue = peers.responder(far, taken, () => {
      heard += 1;
      return [["stolen"]];
    });
    const listener = responderName("listener", 3);
    const told: string[] = [];
    peers.responder(near, listener, ([what]) => {
      told.push(String(what));
      return [["heard"]];
    });
    await requester.sync(listener);
    const before = await lost("responder", "forbidden");
    await until(async () => {
      await rogue.send(["R", "", listener, "", "forged"]).catch(() => {});
      return (await lost("responder", "forbidden")) > before;
    }, "what it says is refused");
    const unknown = await lost("responder", "unknown");
    await requester.send(taken, "a secret");
    await until(async () => (await lost("responder", "unknown")) > unknown, "nobody gets it");
    peers.responder(near, taken, () => [["honest"]]);
    await requester.sync(taken);
    expect(String(await requester.ask(taken, "who?"))).toBe("honest");
    expect(heard).toBe(0);
    expect(told).not.toContain("forged");
  });

  it("counts what a peer has no room for, and serves the others", async () => {
    peers = new CameoPeers();
    const stuck = peers.hold(
      new zmq.Router({ routingId: responderName("stuck", 1), linger: 0, receiveHighWaterMark: 1 }),
    );
    stuck.connect(`tcp://127.0.0.1:${near}`);
    peers.responder(near, name);
    const requester = peers.requester(far, { more: { sendHighWaterMark: 0 } });
    await requester.sync(name);
    const before = await lost("responder", "full");
    const body = randomBytes(64 * 1024);
    await until(async () => {
      for (let i = 0; i < 100; i += 1) await requester.send(responderName("stuck", 1), body);
      return (await lost("responder", "full")) > before;
    }, "some of it is counted as lost");
    expect((await requester.ask(name, "and you?")).map(String)).toEqual(["and you?"]);
  });
});

describe("the publisher proxy", () => {
  let proxy: PublisherProxy;

  beforeAll(async () => {
    proxy = await PublisherProxy.open(zmq, { ...LIMITS, high_water_mark: 100_000 }, deps);
  });
  afterAll(() => proxy[Symbol.asyncDispose]());

  it("brings all that five subscribers have asked for to each, and by its prefix also more [cameo 9, 10]", async () => {
    peers = new CameoPeers();
    const topic = `${PUBLISHER}numbers:1`;
    const longer = `${PUBLISHER}numbers:12`;
    const publisher = peers.publisher(proxy.ports.publishers);
    const subscribers = Array.from({ length: 5 }, () => peers.subscriber(proxy.ports.far, topic));
    // A sync message is repeated until each has heard one (seed-systems 4.5).
    for (const each of subscribers) {
      each.receiveTimeout = 20;
      await until(async () => {
        await publisher.send([topic, '{"type":2}']);
        return each.receive().then(
          () => true,
          () => false,
        );
      }, "a subscriber is in time");
      each.receiveTimeout = 15_000;
    }
    const other = peers.publisher(proxy.ports.publishers);
    await until(async () => {
      await other.send([longer, '{"type":34}', "of the other"]);
      await publisher.send([topic, '{"type":2}']);
      const [which] = (await subscribers[0]?.receive()) ?? [];
      return String(which) === longer;
    }, "the other publisher is heard, whose topic begins alike");
    for (let n = 0; n < 2_000; n += 1) await publisher.send([topic, '{"type":34}', `${n}`]);
    await publisher.send([topic, '{"type":35}']);
    for (const each of subscribers) {
      const data: string[] = [];
      for await (const [which, type, value] of each) {
        if (String(which) !== topic) continue;
        if (String(type) === '{"type":35}') break;
        if (value) data.push(String(value));
      }
      expect(data).toEqual(Array.from({ length: 2_000 }, (_, n) => `${n}`));
    }
  });

  it("counts what one who is slow has missed, and the others miss nothing", async () => {
    peers = new CameoPeers();
    const narrow = await PublisherProxy.open(zmq, { ...LIMITS, high_water_mark: 200 }, deps);
    try {
      const publisher = peers.publisher(narrow.ports.publishers);
      const quick = peers.subscriber(narrow.ports.far, "t");
      const slow = peers.hold(new zmq.Subscriber({ linger: 0, receiveHighWaterMark: 1 }));
      slow.connect(`tcp://127.0.0.1:${narrow.ports.far}`);
      slow.subscribe("t");
      const body = randomBytes(64 * 1024);
      const before = await lost("publisher", "full");
      let sent = 0;
      let heard = 0;
      quick.receiveTimeout = 20;
      await until(async () => {
        await publisher.send(["t", `${sent}`, body]);
        return quick.receive().then(
          () => true,
          () => false,
        );
      }, "the quick one is in time");
      quick.receiveTimeout = 15_000;
      await until(async () => {
        for (let i = 0; i < 50; i += 1) {
          sent += 1;
          await publisher.send(["t", `${sent}`, body]);
        }
        for (let i = 0; i < 50; i += 1) {
          const [, n] = await quick.receive();
          expect(Number(n) >= heard).toBe(true);
          heard = Number(n);
        }
        return (await lost("publisher", "full")) > before;
      }, "the slow one has missed something");
      while (heard < sent) heard = Number((await quick.receive())[1]);
    } finally {
      await narrow[Symbol.asyncDispose]();
    }
  });
});

describe("with CURVE", () => {
  it("serves those from elsewhere whose key is known, and peers of this machine as ever", async () => {
    peers = new CameoPeers();
    const [server, known, unknown] = [curveKeyPair(), curveKeyPair(), curveKeyPair()];
    const list = await AllowList.open(zmq, [known.publicKey]);
    const curve = { secret_key: server.secretKey, asks: true };
    const responders = await ResponderProxy.open(zmq, LIMITS, { curve, events });
    const publishers = await PublisherProxy.open(zmq, LIMITS, { curve, events });
    try {
      const name = responderName("private", 1);
      peers.responder(responders.ports.near, name);
      const { far } = responders.ports;
      const good = peers.requester(far, { keys: { server: server.publicKey, own: known } });
      await good.sync(name);
      expect((await good.ask(name, "in private")).map(String)).toEqual(["in private"]);
      // What libzmq has been refused it dials no more, and then nothing can be sent.
      const more = { sendTimeout: 100 };
      const strangers = [
        peers.requester(far, { keys: { server: server.publicKey, own: unknown }, more }),
        peers.requester(far, { keys: { server: unknown.publicKey, own: known }, more }),
        peers.requester(far, { more }),
      ];
      const publisher = peers.publisher(publishers.ports.publishers);
      const keys = { server: server.publicKey, own: known };
      const listeners = [
        peers.subscriber(publishers.ports.far, "t", keys),
        peers.subscriber(publishers.ports.near, "t"),
      ];
      const blind = peers.subscriber(publishers.ports.far, "t");
      for (const each of listeners) {
        each.receiveTimeout = 20;
        await until(async () => {
          await publisher.send(["t", "news"]);
          return each.receive().then(
            () => true,
            () => false,
          );
        }, "a subscriber hears the news");
      }
      for (const each of strangers) {
        await each.socket.send(["", name, "", "let me in"]).catch(() => {});
        each.socket.receiveTimeout = 50;
        await expect(each.socket.receive()).rejects.toThrow();
      }
      blind.receiveTimeout = 50;
      await expect(blind.receive()).rejects.toThrow();
    } finally {
      await responders[Symbol.asyncDispose]();
      await publishers[Symbol.asyncDispose]();
      await list[Symbol.asyncDispose]();
    }
  });
});

describe("a peer", () => {
  it.each([
    ["127.0.0.1", "127.0.0.1", true],
    ["127.0.0.1", "127.0.1.1", true],
    ["::1", "::1", true],
    ["::ffff:127.0.0.1", "::ffff:127.0.1.1", true],
    ["::ffff:192.0.2.7", "192.0.2.7", true],
    ["192.0.2.8", "192.0.2.7", false],
    ["::ffff:192.0.2.8", "::ffff:192.0.2.7", false],
    ["2001:db8::2", "2001:db8::1", false],
    [undefined, undefined, false],
  ])("that comes from %s to %s is of this machine: %s", (remote, local, expected) => {
    const socket = { remoteAddress: remote as string, localAddress: local as string };
    expect(isOfThisMachine(socket)).toBe(expected);
  });
});
