import { createServer, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { acceptTls, readTls } from "../../../src/net/tls.ts";
import { poolAgent } from "../../../src/relay/agent/agent.ts";
import { echo, forward } from "../../../src/relay/agent/targets.ts";
import { Authority } from "../../support/certificates.ts";
import { RelayServer } from "../../support/relayserver.ts";
import { until } from "../../support/until.ts";
import { dialFreely, Ear, say } from "../../support/wires.ts";

type Options = Parameters<typeof poolAgent>[0];
type Agent = ReturnType<typeof poolAgent>;

let relay: RelayServer;
let agents: Agent[];
let clients: Socket[];
let closed: Array<{ session: number | undefined; why: string; problem?: string }>;
let troubles: string[];

beforeEach(async () => {
  relay = await RelayServer.open();
  [agents, clients, closed, troubles] = [[], [], [], []];
});
afterEach(async () => {
  for (const client of clients) client.destroy();
  await Promise.all(agents.map((agent) => agent[Symbol.asyncDispose]()));
  await relay[Symbol.asyncDispose]();
});

function start(options: Partial<Options> = {}): Agent {
  const agent = poolAgent({
    ...relay.options,
    handler: echo(),
    size: 2,
    drain_ms: 200,
    events: { closed: (each) => closed.push(each), troubled: (each) => troubles.push(each) },
    ...options,
  });
  agents.push(agent);
  return agent;
}

const waiting = (count: number): Promise<void> =>
  until(
    () => relay.waiting.length === count && relay.commands.size === agents.length,
    () => `${count} connections wait (${relay.waiting.length} do)`,
  );

async function client(): Promise<{ socket: Socket; ear: Ear }> {
  const socket = await dialFreely(relay.ports[2] ?? 0);
  clients.push(socket);
  return { socket, ear: new Ear(socket) };
}

/** A server with this to do for each connection. */
async function serving(
  serve: (socket: Socket) => void,
): Promise<AsyncDisposable & { port: number }> {
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.on("error", () => {}).on("close", () => sockets.delete(socket));
    serve(socket);
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  return {
    port: (server.address() as { port: number }).port,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((done) => server.close(done));
    },
  };
}

describe("an agent", () => {
  it("keeps connections waiting, and serves whoever is given one", async () => {
    start();
    await waiting(2);
    const [one, other] = [await client(), await client()];
    await say(one.socket, "one");
    await say(other.socket, "other");
    expect(`${await one.ear.hears(3)}`).toBe("one");
    expect(`${await other.ear.hears(5)}`).toBe("other");
  });

  it("says golden hellos to a relay that knows no more, and who it is to one that does", async () => {
    start({ size: 1, service: "ssh", token: "s3" });
    await waiting(1);
    await until(() => relay.hellos.length === 2, "both kinds of connection have said hello");
    const [one, other] = relay.hellos.map((hello) =>
      hello.map(({ number, value }) => `${number} ${value}`),
    );
    expect(one).toEqual(other); // so that announcements find their owner
    expect(one?.filter((each) => !each.startsWith("12 "))).toEqual(["1 1", "11 ssh", "13 s3"]);
  });

  it("has a new connection waiting as soon as one was used, again and again", async () => {
    start({ size: 1 });
    for (let round = 0; round < 30; round += 1) {
      await waiting(1);
      const { socket, ear } = await client();
      await say(socket, `${round}`);
      await ear.hears(`${round}`.length);
      socket.destroy();
    }
    await until(() => closed.length === 30, "each is told of");
    expect(closed.map(({ session }) => session)).toEqual(Array.from({ length: 30 }, (_, at) => at));
    expect(troubles).toEqual([]);
  });

  it("delivers what came with the relay's answer at once (R4)", async () => {
    const heard: string[] = [];
    relay.behind = Buffer.from("early");
    start({
      size: 1,
      handler: (stream) => void stream.on("data", (chunk) => heard.push(`${chunk}`)),
    });
    await until(() => heard.includes("early"), "the first bytes are heard");
  });

  it("does not wait for the client's first word where the service speaks first", async () => {
    start({ size: 1, handler: (stream) => void stream.write("220 hello") });
    await waiting(1);
    const { ear } = await client();
    expect(`${await ear.hears(9)}`).toBe("220 hello");
  });

  it("hears every announcement of a segment (R2)", async () => {
    start({ size: 3, handler: (stream, { session }) => void stream.write(`${session}`) });
    await waiting(3);
    relay.announces = false;
    const all = [await client(), await client(), await client()];
    await waiting(0);
    const segment = Buffer.concat([0, 1, 2].map((session) => relay.announce(0, session)));
    for (const channel of relay.commands) channel.write(segment);
    for (const [session, { ear }] of all.entries())
      expect(`${await ear.hears(1)}`).toBe(`${session}`);
  });

  it("passes an end on, and the answer behind it", async () => {
    await using target = await serving((socket) => {
      let size = 0;
      socket.on("data", (chunk) => {
        size += chunk.length;
      });
      socket.on("end", () => socket.end(`${size} bytes`));
    });
    start({ size: 1, handler: forward("127.0.0.1", target.port) });
    await waiting(1);
    const { socket, ear } = await client();
    socket.end(Buffer.alloc(300_000));
    expect(`${await ear.hears(12)}`).toBe("300000 bytes");
    expect(await ear.hearsTheEnd()).toBe("end");
    await until(() => closed.length === 1, "its end is told");
    expect(closed[0]?.why).toBe("done");
  });

  it("has a place free when the client has left, whatever the relay still keeps open (R1, R8)", async () => {
    relay.grace = true;
    start({ size: 1 });
    await waiting(1);
    const { socket, ear } = await client();
    await say(socket, "a");
    await ear.hears(1);
    socket.destroy();
    await waiting(1);
    expect(closed).toEqual([]); // the old one is still open
    await until(() => closed.length === 1, "the old one is closed");
  });

  it("resets a client whose handler fails, and tells why", async () => {
    start({ size: 1, handler: async () => Promise.reject(new Error("no such room")) });
    await waiting(1);
    const { ear } = await client();
    await ear.hearsTheEnd();
    await until(() => closed.length === 1, "its end is told");
    expect(closed).toEqual([{ session: 0, why: "failed", problem: "no such room" }]);
    await waiting(1);
  });

  it("ends the stream when a handler's promise resolves", async () => {
    start({ size: 1, handler: async (stream) => void stream.write("that is all") });
    await waiting(1);
    const { ear } = await client();
    expect(await ear.hearsTheEnd()).toBe("end");
    expect(`${ear.bytes}`).toBe("that is all");
  });
});

describe("how many connections", () => {
  it("grows with use, up to its maximum, and shrinks again", async () => {
    const agent = start({ size: { min: 2, max: 5, spare: 2 } });
    await waiting(2);
    const guests: Socket[] = [];
    for (const left of [2, 2, 2, 1]) {
      const { socket, ear } = await client();
      await say(socket, "x");
      await ear.hears(1);
      guests.push(socket);
      await waiting(left);
    }
    expect(agent.count).toEqual({ used: 4, waiting: 1, dialling: 0 });
    for (const guest of guests) guest.destroy();
    await until(() => closed.length === 4, "all are gone");
    await waiting(2);
  });
});

describe("a relay that is away", () => {
  it("is found when it comes, and found again after it has gone, all places at once", async () => {
    const { ports } = relay;
    await relay[Symbol.asyncDispose]();
    const agent = start({ size: 20 });
    await until(() => troubles.length > 1, "it is told that nobody answers at either port");
    relay = await RelayServer.open(ports);
    await waiting(20);
    await until(() => agent.count.waiting === 20, "they all know");
    const { commands } = relay.options;
    const about = (each: string): boolean => !each.includes(commands);
    const told = (): number => troubles.filter(about).length;
    expect(told()).toBe(1);
    await relay[Symbol.asyncDispose]();
    await until(() => told() === 2, "each time that it goes is told once");
    relay = await RelayServer.open(ports);
    await waiting(20);
    expect(closed.filter(({ why }) => why === "unused").length).toBe(20);
    const { socket, ear } = await client();
    await say(socket, "back");
    expect(`${await ear.hears(4)}`).toBe("back");
  });

  it("tells every connection's end once, also of one that was lost before its hello (R5)", async () => {
    await using deaf = await serving((socket) => socket.destroy());
    start({ size: 1, relay: `127.0.0.1:${deaf.port}` });
    await until(() => closed.length >= 2, "it is tried again");
    expect(closed[0]).toMatchObject({ session: undefined, why: "unused" });
    expect(closed[0]?.problem).toContain("closed before it answered");
  });
});

describe("a target that cannot be reached", () => {
  it("costs no client: nothing is offered until it can", async () => {
    await using target = await serving((socket) => socket.pipe(socket));
    const { port } = target;
    start({ handler: forward("127.0.0.1", port), check_every_ms: 20 });
    await waiting(2);
    await target[Symbol.asyncDispose]();
    await waiting(0);
    expect(troubles.some((each) => each.includes("nobody answers"))).toBe(true);
  });
});

describe("TLS towards the relay", () => {
  it("carries the hello and the client, and shows the agent's certificate", async () => {
    await using authority = await Authority.open();
    const names: string[] = [];
    const wraps = new Map<string, (secure: Duplex) => void>();
    const acceptor = acceptTls(
      await readTls(await authority.issue("relay.local")),
      { verify_client: true, request_client_cert: false, alpn: [] },
      {
        secured(socket) {
          names.push(`${socket.getPeerCertificate().subject.CN}`);
          wraps.get(`${socket.remotePort}`)?.(socket);
        },
        failed: (reason) => troubles.push(reason),
      },
    );
    await relay[Symbol.asyncDispose]();
    relay = await RelayServer.open([0, 0, 0], (socket, use) => {
      wraps.set(`${socket.remotePort}`, use);
      acceptor.accept(socket);
    });
    const material = await readTls(await authority.issue("agent-1"));
    start({
      size: 1,

      tls: { material, name: "relay.local", skip_verify: false },
    });
    await until(
      () => relay.waiting.length === 1,
      () => `it waits (${troubles})`,
    );
    expect(names).toContain("agent-1");
    const { socket, ear } = await client();
    await say(socket, "through TLS");
    expect(`${await ear.hears(11)}`).toBe("through TLS");
    await acceptor[Symbol.asyncDispose]();
  });
});

describe("an agent that says it is ready", () => {
  it("has connections that wait and hears what becomes of them, and says so again after trouble", async () => {
    let ready = 0;
    const events = { ready: () => (ready += 1) };
    const nowhere = await serving(() => {});
    await nowhere[Symbol.asyncDispose]();
    const agent = start({ events, commands: `127.0.0.1:${nowhere.port}` });
    await until(() => agent.count.waiting === 2, "its connections wait");
    expect(ready).toBe(0);
    await agent[Symbol.asyncDispose]();
    agents.splice(0);
    start({ events });
    await until(() => ready === 1, "it says so");
    expect(relay.commands.size).toBe(1);
    for (const each of relay.commands) each.destroy();
    await until(() => ready === 2, "it says so again");
  });
});

describe("an agent that stops", () => {
  it("offers nothing more, lets guests finish, and then sends them away", async () => {
    const agent = start({ drain_ms: 10_000, size: { min: 2, max: 4, spare: 2 } });
    await waiting(2);
    const [one, two] = [await client(), await client()];
    for (const { socket, ear } of [one, two]) {
      await say(socket, "x");
      await ear.hears(1);
    }
    await waiting(2);
    const stopped = agent[Symbol.asyncDispose]();
    await until(() => relay.waiting.length === 0 && relay.commands.size === 0, "it offers nothing");
    await say(one.socket, "y");
    expect(`${await one.ear.hears(2)}`).toBe("xy");
    for (const { socket } of [one, two]) socket.end();
    await stopped;
    expect(agent.count).toEqual({ used: 0, waiting: 0, dialling: 0 });
    expect(closed.map(({ why }) => why).sort()).toEqual(["done", "done", "unused", "unused"]);
  });

  it("does not wait for ever", async () => {
    const agent = start({ drain_ms: 50 });
    await waiting(2);
    const { socket, ear } = await client();
    await say(socket, "x");
    await ear.hears(1);
    await agent[Symbol.asyncDispose]();
    await ear.hearsTheEnd();
  });
});
