/**
 * Both proxies of CAMEO beside libzmq's own `zmq_proxy`, in one run: `node --import tsx
 * test/bench/switch.ts`, after `make all`. Each relay is a process of its own; the peers are real sockets
 * in this one and are as much a part of every number as the relay is. Rounds take turns, so that a noisy
 * moment hits all; what is printed is the median of the rounds.
 */
import { type ChildProcess, fork, spawn } from "node:child_process";
import { once } from "node:events";
import * as zmq from "zeromq";
import { freePorts } from "../../src/roles/dev/ports.ts";
import { CameoPeers, responderName } from "../support/cameo.ts";

const ROUNDS = 5;
const MESSAGES = 20_000;
const TRIPS = 1_000;
const WINDOW = 200;
const NAME = responderName("bench", 1);
const SIZES = [100, 10_000];

/** Where peers dial: requesters, responders, subscribers, publishers. */
type Relay = { name: string; ports: number[]; process: ChildProcess; isOurs: boolean };

if (process.argv[2] === "zmq_proxy") await relayByLibzmq(process.argv.slice(3).map(Number));
else await compare();

/** ROUTER to DEALER and XSUB to XPUB, each by libzmq's proxy; which holds this process, so there are two. */
async function relayByLibzmq([front, back, isTopic]: number[]): Promise<void> {
  const [one, two] = isTopic
    ? [
        new zmq.XPublisher({ sendHighWaterMark: 0 }),
        new zmq.XSubscriber({ receiveHighWaterMark: 0 }),
      ]
    : [new zmq.Router(), new zmq.Dealer()];
  await one.bind(`tcp://127.0.0.1:${front}`);
  await two.bind(`tcp://127.0.0.1:${back}`);
  process.send?.("ready");
  await new zmq.Proxy(one, two).run();
}

async function compare(): Promise<void> {
  const [a = 0, b = 0, c = 0, d = 0, responder = 0, publisher = 0, internal = 0] =
    await freePorts(7);
  const self = process.argv[1] ?? "";
  const libzmq = [
    fork(self, ["zmq_proxy", `${a}`, `${b}`, "0"]),
    fork(self, ["zmq_proxy", `${c}`, `${d}`, "1"]),
  ];
  await Promise.all(libzmq.map((each) => once(each, "message")));
  const flags = ["--host", "localhost", "--ports", [responder, publisher, internal].join()];
  const ours = spawn(process.execPath, ["dist/bin/proxy.js", "run", "zeromq", ...flags], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  await once(ours.stderr as NodeJS.ReadableStream, "data");
  ours.stderr?.resume();
  const relays: Relay[] = [
    { name: "zmq_proxy", ports: [a, b, c, d], process: libzmq[0] as ChildProcess, isOurs: false },
    {
      name: "eps-broker",
      ports: [responder, responder, publisher, internal],
      process: ours,
      isOurs: true,
    },
  ];
  try {
    for (const size of SIZES) await rounds(relays, Buffer.alloc(size));
  } finally {
    for (const each of [...libzmq, ours]) each.kill("SIGKILL");
  }
}

async function rounds(relays: readonly Relay[], body: Buffer): Promise<void> {
  const found = new Map<string, number[]>();
  const note = (what: string, value: number): void => {
    found.set(what, [...(found.get(what) ?? []), value]);
  };
  for (let round = 0; round < ROUNDS; round += 1) {
    for (const relay of relays) {
      const { name } = relay;
      const { trip_us, per_s } = await ask(relay, body);
      note(`request and answer  latency      ${name}`, trip_us);
      note(`request and answer  messages/s   ${name}`, per_s);
      note(`publish             messages/s   ${name}`, await publish(relay, body));
    }
  }
  process.stdout.write(`${body.length} bytes\n`);
  for (const [what, values] of [...found].sort()) {
    const middle = values.sort((x, y) => x - y)[Math.floor(values.length / 2)] ?? 0;
    process.stdout.write(
      `  ${what.padEnd(46)} ${Math.round(middle).toLocaleString("en")}${what.includes("latency") ? " µs" : ""}\n`,
    );
  }
}

async function ask({ ports, isOurs }: Relay, body: Buffer) {
  using peers = new CameoPeers();
  const [front = 0, back = 0] = ports;
  if (isOurs) peers.responder(back, NAME);
  else echo(peers, back);
  const requester = peers.requester(front, { more: { sendHighWaterMark: 0 } });
  await requester.sync(NAME);
  let begun = performance.now();
  for (let n = 0; n < TRIPS; n += 1) await requester.ask(NAME, body);
  const trip_us = ((performance.now() - begun) / TRIPS) * 1_000;
  begun = performance.now();
  for (let n = 0; n < WINDOW; n += 1) await requester.send(NAME, body);
  for (let n = 0; n < MESSAGES; n += 1) {
    await requester.receive();
    if (n + WINDOW < MESSAGES) await requester.send(NAME, body);
  }
  return { trip_us, per_s: (2 * MESSAGES * 1_000) / (performance.now() - begun) };
}

/** What a responder is behind a DEALER: it answers frames as they came. */
function echo(peers: CameoPeers, port: number): void {
  const socket = peers.hold(new zmq.Dealer({ linger: 0, sendHighWaterMark: 0 }));
  socket.connect(`tcp://127.0.0.1:${port}`);
  const serve = async (): Promise<void> => {
    for await (const frames of socket) await socket.send(frames);
  };
  void serve().catch(() => {}); // it was closed
}

async function publish({ ports }: Relay, body: Buffer): Promise<number> {
  using peers = new CameoPeers();
  const [, , front = 0, back = 0] = ports;
  const publisher = peers.publisher(back);
  const subscriber = peers.subscriber(front, "t");
  subscriber.receiveTimeout = 20;
  do await publisher.send(["t", "sync"]);
  while (!(await subscriber.receive().catch(() => undefined)));
  subscriber.receiveTimeout = 10_000;
  const begun = performance.now();
  // Not more under way than either relay has room for, since what is lost would not be counted here.
  let sent = 0;
  let heard = 0;
  while (heard < MESSAGES) {
    for (; sent < MESSAGES && sent - heard < WINDOW; sent += 1) await publisher.send(["t", body]);
    const [, what] = await subscriber.receive();
    if (what?.length === body.length) heard += 1;
  }
  return (MESSAGES * 1_000) / (performance.now() - begun);
}
