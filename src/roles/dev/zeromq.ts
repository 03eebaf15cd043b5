import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, readFile, readlink, rm } from "node:fs/promises";
import { connect, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import type { Dealer } from "zeromq";
import { Fault } from "../../core/fault.ts";
import { packageFile } from "../../core/package.ts";
import { Scope } from "../../core/scope.ts";
import { loadZeromq, type ZeroMQ } from "../../relay/switch/zeromq.ts";
import { freePorts } from "./ports.ts";
import { Program } from "./processes.ts";
import { heading, say, step } from "./steps.ts";

const APPLICATIONS = 50;
/** Each application has two responders and a publisher, which also listen at ports of their own. */
const OWN_PORTS = 3 * APPLICATIONS;
const SHOWN = 4;
const PATIENCE_MS = 30_000;
const AGAIN_MS = 100;

const DEV = packageFile("dist/bin/dev.js");
const RESPONDER = "responder-676e576d-6102-42d8-ae24-222a7000dfa0-";
const PUBLISHER = "publisher-55845880-56e9-4ad6-bea1-e84395c90b32-";

/** How an application's responders and its publisher are called, as CAMEO does (seed-systems 4.3, 4.4). */
function namesOf(application: number) {
  const responder = (what: string): string => `${RESPONDER}${what}:${application}`;
  return {
    responders: [responder("adder"), responder("echo")] as const,
    topic: `${PUBLISHER}ticks:${application}`,
  };
}

/** Shows fifty applications on "computer A" and their users on "computer B", who reach two ports of A. */
export async function demoZeromq(signal: AbortSignal): Promise<void> {
  if (process.platform !== "linux")
    throw new Fault("failed", "which sockets B opens is read from /proc, which only Linux has");
  const zmq = await loadZeromq();
  await using scope = new Scope(signal);
  const folder = await mkdtemp(join(tmpdir(), "eps-zeromq-"));
  scope.defer(() => rm(folder, { recursive: true, force: true }));
  const [responder = 0, publisher = 0, internal = 0] = await freePorts(3);
  const flags = ["--host", "localhost", "--ports", [responder, publisher, internal].join()];
  const how = { argv: ["proxy", "run", "zeromq", ...flags], env: process.env, logs: folder };
  const proxy = new Program("proxy", { ...how, keep: false });
  scope.defer(() => proxy.stop());
  const ready = { what: "ready", within_ms: PATIENCE_MS };
  await step("A: the proxies are ready", () =>
    proxy.said(({ msg }) => msg === "ready", ready, scope.signal),
  );
  const own = await step(`A: ${APPLICATIONS} applications listen at ${OWN_PORTS} ports`, () =>
    startApplications(zmq, { responder, internal }, scope),
  );
  const walls = await openWall([responder, publisher]);
  for (const { server } of walls) scope.defer(() => server.close());
  const outside = walls.map(({ port }) => port);
  const told = await step("B: all of them were asked, and all were listened to", () =>
    askFromB(outside, scope),
  );
  heading("What B reached, and by which of the two ports");
  const shown = told.answers.slice(0, SHOWN);
  for (const line of shown) say(`  ${responder}  ${line}`);
  say(`  ${responder}  … ${told.answers.length} responders of ${APPLICATIONS} applications`);
  for (const line of told.news.slice(0, SHOWN)) say(`  ${publisher}  ${line}`);
  say(`  ${publisher}  … ${told.news.length} publishers`);
  heading("The connections that B opened, as its kernel tells");
  const ports = [...new Set(told.sockets)];
  for (const port of ports) {
    const count = told.sockets.filter((each) => each === port).length;
    const at = walls.find((wall) => wall.port === port);
    say(`  ${count} to port ${at ? `${at.target} of A` : `${port}, which is none of the two`}`);
  }
  say(`  and none to the ${own.length} ports of the applications, nor to ${internal}`);
  const strange = ports.filter((port) => !outside.includes(port));
  if (strange.length > 0) throw new Fault("failed", `B reached ${strange}, not only two ports`);
  if (told.answers.length !== 2 * APPLICATIONS || told.news.length !== APPLICATIONS)
    throw new Fault("failed", "not all applications were reached");
  say();
  await step("everything stopped", () => scope[Symbol.asyncDispose]());
}

/** Responders and publishers that dial the proxies and listen themselves; the ports they listen at. */
async function startApplications(
  zmq: ZeroMQ,
  { responder, internal }: { responder: number; internal: number },
  scope: Scope,
): Promise<string[]> {
  const own: string[] = [];
  const work = Array.from({ length: APPLICATIONS }, async (_, application) => {
    const { responders, topic } = namesOf(application);
    for (const routingId of responders) {
      const router = new zmq.Router({ routingId, linger: 0 });
      scope.defer(() => router.close());
      await router.bind("tcp://127.0.0.1:*");
      own.push(router.lastEndpoint ?? "");
      router.connect(`tcp://127.0.0.1:${responder}`);
      const serve = async (): Promise<void> => {
        for await (const [via = "", , origin = "", , ...payload] of router)
          await router.send([via, "", origin, "", routingId, ...payload]);
      };
      void serve().catch(() => {}); // it was closed
    }
    const publisher = new zmq.Publisher({ linger: 0 });
    await publisher.bind("tcp://127.0.0.1:*");
    own.push(publisher.lastEndpoint ?? "");
    publisher.connect(`tcp://127.0.0.1:${internal}`);
    const timer = setInterval(
      () => void publisher.send([topic, '{"type":34}', `tick of ${application}`]),
      AGAIN_MS,
    );
    scope.defer(() => {
      clearInterval(timer);
      publisher.close();
    });
  });
  await Promise.all(work);
  return own;
}

/** Stands between A and B: nothing of A but these two ports can be dialled there. */
async function openWall(targets: readonly number[]) {
  return await Promise.all(
    targets.map(async (target) => {
      const server: Server = createServer((outer) => {
        const inner = connect({ port: target, host: "127.0.0.1" });
        const bound = (one: Socket, other: Socket) => one.on("error", () => other.destroy());
        bound(outer, inner);
        bound(inner, outer);
        outer.pipe(inner).pipe(outer);
      });
      server.listen(0, "127.0.0.1");
      await once(server, "listening");
      return { target, server, port: (server.address() as { port: number }).port };
    }),
  );
}

type Told = { answers: string[]; news: string[]; sockets: number[] };

async function askFromB(ports: readonly number[], scope: Scope): Promise<Told> {
  const child: ChildProcess = spawn(process.execPath, [DEV, "zeromq-b", ports.join()], {
    stdio: ["ignore", "pipe", "inherit"],
    signal: scope.signal,
  });
  const ended = once(child, "close");
  const told = await text(child.stdout as NodeJS.ReadableStream);
  const [code] = await ended;
  if (code !== 0) throw new Fault("failed", `computer B ended with ${code}`);
  return JSON.parse(told) as Told;
}

/** "Computer B", a process of its own: a requester and a subscriber for each application. */
export async function actAsB(ports: string): Promise<void> {
  const [responder = "", publisher = ""] = ports.split(",");
  const zmq = await loadZeromq();
  const held: Array<{ close(): void }> = [];
  const numbers = Array.from({ length: APPLICATIONS }, (_, index) => index);
  const asking = numbers.map(async (application) => {
    const requester = new zmq.Dealer({ linger: 0, receiveTimeout: 5 * AGAIN_MS });
    held.push(requester);
    requester.connect(`tcp://127.0.0.1:${responder}`);
    const { responders } = namesOf(application);
    const answers: string[] = [];
    for (const name of responders) answers.push(await ask(requester, name));
    return answers;
  });
  const listening = numbers.map(async (application) => {
    const subscriber = new zmq.Subscriber({ linger: 0, receiveTimeout: PATIENCE_MS });
    held.push(subscriber);
    subscriber.connect(`tcp://127.0.0.1:${publisher}`);
    const { topic } = namesOf(application);
    subscriber.subscribe(topic);
    for await (const [heard, , news] of subscriber) if (String(heard) === topic) return `${news}`; // prefixes match more than was meant
    throw new Fault("timeout", `nothing was heard of ${topic}`);
  });
  const answers = (await Promise.all(asking)).flat();
  const news = await Promise.all(listening);
  process.stdout.write(JSON.stringify({ answers, news, sockets: await ownConnections() }));
  for (const each of held) each.close();
}

/** Asks until somebody answers, as a requester's SYNC does. */
async function ask(requester: Dealer, name: string): Promise<string> {
  const until = performance.now() + PATIENCE_MS;
  while (performance.now() < until) {
    await requester.send(["", name, "", '{"type":21}']);
    const answer = await requester.receive().catch(() => undefined);
    const [who] = answer?.slice(3) ?? [];
    if (String(who) === name) return `${name} answered`;
  }
  throw new Fault("timeout", `${name} never answered`);
}

/** Ports to which this process has TCP connections, one for each, as Linux has it in /proc. */
async function ownConnections(): Promise<number[]> {
  const links = await Promise.all(
    (await readdir("/proc/self/fd")).map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => "")),
  );
  const own = new Set(links.map((link) => /^socket:\[(\d+)\]$/.exec(link)?.[1]));
  const rows = (await readFile("/proc/self/net/tcp", "utf8")).trim().split("\n").slice(1);
  return rows
    .map((row) => row.trim().split(/\s+/))
    .filter((fields) => own.has(fields[INODE]))
    .map((fields) => Number.parseInt(fields[REMOTE]?.split(":")[1] ?? "", 16));
}

/** Columns of /proc/net/tcp (proc(5)). */
const REMOTE = 2;
const INODE = 9;
