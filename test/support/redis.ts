import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { silent } from "../../src/core/log.ts";
import { decodeEntry, encodeEntry } from "../../src/store/entry.ts";
import { openRedisStore } from "../../src/store/redis.ts";
import type { Store, StoredEntry } from "../../src/store/store.ts";
import { until } from "./until.ts";

/** A real Redis of one's own, in a folder of its own. */
export type Redis = {
  readonly port: number;
  readonly address: string;
  /** Without a client library: what Redis answers to one command, byte for byte. */
  say(...command: Array<string | Buffer>): Promise<Buffer>;
  signal(name: "SIGSTOP" | "SIGCONT"): void;
  kill(): Promise<void>;
  /** On the same port, with what lies in the folder. */
  start(): Promise<void>;
  /** Stops it and removes the folder. */
  clear(): Promise<void>;
};

/** Forgets everything when it stops, unless its configuration says otherwise. On a free port if none is given. */
export async function startRedis(
  config: string[] = ['save ""'],
  { sentinel = false, at }: { sentinel?: boolean; at?: number } = {},
): Promise<Redis> {
  const folder = await mkdtemp(join(tmpdir(), "redis-"));
  const port = at ?? (await freePort());
  const file = join(folder, "redis.conf");
  const lines = ["bind 127.0.0.1", `port ${port}`, `dir ${folder}`, ...config];
  await writeFile(file, `${lines.join("\n")}\n`);
  const say = (...command: Array<string | Buffer>) => speak(port, command);
  let child: ChildProcess | undefined;

  const kill = async (): Promise<void> => {
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, "exit");
    child.kill("SIGKILL");
    await gone;
  };
  const start = async (): Promise<void> => {
    const flags = sentinel ? ["--sentinel"] : [];
    const program = spawn("redis-server", [file, ...flags], { stdio: "ignore" });
    child = program;
    const answers = (): Promise<boolean> =>
      say("PING").then(
        (answer) => /^(\+PONG|-NOAUTH)/.test(answer.toString()),
        () => false,
      );
    await until(async () => program.exitCode !== null || (await answers()), "redis answers");
    if (program.exitCode !== null) throw new Error(`redis-server ended with ${program.exitCode}`);
  };
  await start();
  return {
    port,
    address: `127.0.0.1:${port}`,
    say,
    signal: (name) => void child?.kill(name),
    kill,
    start,
    async clear() {
      await kill();
      await rm(folder, { recursive: true });
    },
  };
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  if (address === null || typeof address === "string") throw new Error("no port");
  return address.port;
}

/** Asks, says goodbye, and gives back what came before the goodbye was answered. */
async function speak(port: number, command: Array<string | Buffer>): Promise<Buffer> {
  const socket = connect(port, "127.0.0.1");
  const heard: Buffer[] = [];
  socket.on("data", (bytes) => heard.push(bytes));
  socket.end(Buffer.concat([encoded(command), encoded(["QUIT"])]));
  await once(socket, "close");
  const bytes = Buffer.concat(heard);
  const farewell = bytes.lastIndexOf("+OK\r\n");
  return farewell < 0 ? bytes : bytes.subarray(0, farewell);
}

function encoded(command: Array<string | Buffer>): Buffer {
  return Buffer.concat([
    Buffer.from(`*${command.length}\r\n`),
    ...command.flatMap((part) => [
      Buffer.from(`$${Buffer.byteLength(part)}\r\n`),
      Buffer.from(part),
      Buffer.from("\r\n"),
    ]),
  ]);
}

type Settings = Parameters<typeof openRedisStore>[0];

export function openStoreAt(
  addresses: string | string[],
  settings: Partial<Settings> = {},
): Promise<Store> {
  const defaults = { password: "", database: 0, key: "entries", master_name: "" };
  return openRedisStore(
    { ...defaults, ...settings, addresses: [addresses].flat() },
    { log: silent },
  );
}

export const entry = (text: string): StoredEntry => ({
  type: 1,
  id: Buffer.from("0123456789abcdef"),
  data: Buffer.from(text),
});
export const element = (text: string): Buffer => encodeEntry(entry(text));
export const texts = (entries: StoredEntry[]): string[] =>
  entries.map(({ data }) => data.toString());

/** What lies in the list, read without any of our code but the entry's own. */
export async function contents(redis: Redis): Promise<string[]> {
  const bytes = await redis.say("LRANGE", "entries", "0", "-1");
  const found: Buffer[] = [];
  let at = bytes.indexOf("\r\n") + 2;
  while (at < bytes.length) {
    const begin = bytes.indexOf("\r\n", at) + 2;
    const end = begin + Number(bytes.toString("latin1", at + 1, begin - 2));
    found.push(bytes.subarray(begin, end));
    at = end + 2;
  }
  return texts(found.map(decodeEntry));
}
