import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect, createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { nanoid } from "nanoid";
import type { Dealer, Router } from "zeromq";
import { Fault } from "../../core/fault.ts";
import { Scope } from "../../core/scope.ts";
import { loadZeromq, type ZeroMQ } from "../../relay/switch/zeromq.ts";
import { freePorts } from "./ports.ts";
import { type LogLine, Program } from "./processes.ts";
import { heading, say, step } from "./steps.ts";

const WORKERS = 3;
/** Clients that a worker may have at the same time. */
const CONNECTIONS = 4;
const CLIENTS = 100;
const SHOWN = 6;
const PATIENCE_MS = 40_000;

type KeyPair = ReturnType<ZeroMQ["curveKeyPair"]>;
type Keys = { server: KeyPair; client: KeyPair } | undefined;

/** Shows that ZeroMQ peers with CURVE meet through a relay that sees nothing of what they say. */
export async function demoStreamq(signal: AbortSignal): Promise<void> {
  const zmq = await loadZeromq();
  await using scope = new Scope(signal);
  const folder = await mkdtemp(join(tmpdir(), "eps-streamq-"));
  scope.defer(() => rm(folder, { recursive: true, force: true }));
  const ports = await freePorts(8);
  const PROXY_SETTINGS = join(folder, "pools.yml");
  await writeFile(PROXY_SETTINGS, settingsOf(ports));
  const env = { ...process.env, PROXY_SETTINGS };
  const argv = ["proxy", "run", "pool"];
  const relay = new Program("relay", { argv, env, logs: folder, keep: false });
  scope.defer(() => relay.stop());
  const said = (what: string, fits: (line: LogLine) => boolean) =>
    relay.said(fits, { what, within_ms: PATIENCE_MS }, scope.signal);
  await step("the relay is ready", () => said("ready", ({ msg }) => msg === "ready"));

  const keys = { server: zmq.curveKeyPair(), client: zmq.curveKeyPair() };
  const [, , worker = 0, client = 0, , , openWorker = 0, openClient = 0] = ports;
  const curve = await run(zmq, { worker, client, keys }, "with CURVE", scope);
  const plain = await run(
    zmq,
    { worker: openWorker, client: openClient, keys: undefined },
    "without",
    scope,
  );
  await step("every connection is closed", () =>
    said("done with its clients", () => ended(relay).length === 2 * CLIENTS),
  );
  heading("Some of what was paired with what, as the relay tells it");
  const some = ended(relay).filter(({ callee }) => callee === "curve");
  for (const { caller, server, bytes_from_caller, bytes_from_callee } of some.slice(0, SHOWN))
    say(
      `  client ${caller} ↔ worker ${server}   ${bytes_from_caller} bytes there, ${bytes_from_callee} back`,
    );
  heading("Who answered, and what a tap before the relay saw");
  for (const [how, { answered, heard, seen }] of Object.entries({ curve, plain })) {
    const shares = [...answered].sort().map(([name, count]) => `${name} ${count}`);
    say(
      `  ${how.padEnd(6)} ${shares.join(", ")} clients; in ${heard} bytes the secret stood ${seen} times`,
    );
  }
  if (curve.seen > 0)
    throw new Fault("failed", "the tap read what only client and worker may read");
  if (plain.seen === 0)
    throw new Fault("failed", "the tap is blind: it should have read the control");
  say();
  await step("everything stopped", () => scope[Symbol.asyncDispose]());
}

function settingsOf(ports: readonly number[]): string {
  const keys = ["data", "command", "worker", "client"];
  const pool = (name: string, gate: string, from: number): string =>
    [
      `  - name: ${name}`,
      `    gate: ${gate}`,
      ...keys.map((key, index) => `    ${key}_bind_address: localhost:${ports[from + index]}`),
    ].join("\n");
  return `pools:\n${pool("curve", "curve", 0)}\n${pool("plain", "none", 4)}\n`;
}

type Told = { answered: Map<string, number>; heard: number; seen: number };

/** A hundred clients, three workers, and a tap before the relay that looks for what they say. */
async function run(
  zmq: ZeroMQ,
  where: { worker: number; client: number; keys: Keys },
  how: string,
  scope: Scope,
): Promise<Told> {
  const secret = nanoid();
  const answered = new Map<string, number>();
  const tap = await openTap(where.client, secret);
  const workers = Array.from({ length: WORKERS }, (_, index) =>
    startWorker(zmq, `worker-${index + 1}`, where),
  );
  try {
    await step(`${CLIENTS} clients ${how} asked ${WORKERS} workers`, async () => {
      const asking = Array.from({ length: CLIENTS }, () => ask(zmq, tap.port, secret, where.keys));
      for (const name of await Promise.all(asking)) {
        scope.signal.throwIfAborted();
        answered.set(name, (answered.get(name) ?? 0) + 1);
      }
    });
    return { answered, ...tap.told() };
  } finally {
    for (const worker of workers) worker.close();
    tap.server.close();
  }
}

/** Answers each question with its name, until it is closed. */
function startWorker(
  zmq: ZeroMQ,
  name: string,
  { worker: port, keys }: { worker: number; keys: Keys },
): Router {
  const worker = new zmq.Router({
    linger: 0,
    handshakeInterval: 0, // or libzmq would dial anew every 30 s while nobody comes
    reconnectInterval: 10,
    ...(keys && { curveServer: true, curveSecretKey: keys.server.secretKey }),
  });
  for (let i = 0; i < CONNECTIONS; i += 1) worker.connect(`tcp://127.0.0.1:${port}`);
  const serve = async (): Promise<void> => {
    for await (const [client = "", question = ""] of worker)
      await worker.send([client, name, question]);
  };
  void serve().catch(() => {}); // it was closed
  return worker;
}

/** Asks one question; the name of the worker that answered. */
async function ask(zmq: ZeroMQ, port: number, secret: string, keys: Keys): Promise<string> {
  const client: Dealer = new zmq.Dealer({
    linger: 0,
    receiveTimeout: PATIENCE_MS,
    ...(keys && {
      curveServerKey: keys.server.publicKey,
      curvePublicKey: keys.client.publicKey,
      curveSecretKey: keys.client.secretKey,
    }),
  });
  try {
    client.connect(`tcp://127.0.0.1:${port}`);
    await client.send(`this is secret: ${secret}`);
    const [name = "", echo = ""] = await client.receive();
    if (!`${echo}`.includes(secret))
      throw new Fault("failed", "an answer belongs to another question");
    return `${name}`;
  } finally {
    client.close();
  }
}

type Tap = { port: number; server: Server; told(): { heard: number; seen: number } };

/** Passes all connections on, and counts how often the secret stands in what it passes. */
async function openTap(port: number, secret: string): Promise<Tap> {
  let heard = 0;
  let seen = 0;
  const listen = (): ((chunk: Buffer) => void) => {
    let last = "";
    return (chunk) => {
      const text = last + chunk.toString("latin1");
      heard += chunk.length;
      seen += text.split(secret).length - 1;
      last = text.slice(1 - secret.length);
    };
  };
  const server = createServer((client) => {
    const relay = connect({ port, host: "127.0.0.1" });
    client.on("data", listen()).on("error", () => relay.destroy());
    relay.on("data", listen()).on("error", () => client.destroy());
    client.pipe(relay).pipe(client);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port: own } = server.address() as { port: number };
  return { port: own, server, told: () => ({ heard, seen }) };
}

function ended(relay: Program): LogLine[] {
  return relay.lines().filter(({ msg }) => msg === "circuit ended");
}
