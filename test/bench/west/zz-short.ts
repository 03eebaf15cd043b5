/**
 * How a web server is reached through a tunnel of west, beside nginx as a plain reverse proxy: `node --import
 * tsx test/bench/west/main.ts`, after `make all`. The servers, the clients and each hop are processes of
 * their own, so that what a hop costs is told apart from what the load costs. Rounds take turns, so that a
 * noisy moment hits all; what is printed is the median of the rounds.
 */
import { type ChildProcess, fork, spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, mkdir, mkdtemp, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Scope } from "../../../src/core/scope.ts";
import { freePorts } from "../../../src/roles/dev/ports.ts";
import { heading, say } from "../../../src/roles/dev/steps.ts";
import { Sites } from "../../../src/roles/dev/west.ts";
import { until } from "../../support/until.ts";
import { cpuOf } from "../machine.ts";
import { summary } from "../statistics.ts";
import type { Done, Work } from "./load.ts";

const ROUNDS = Number(process.env.ROUNDS ?? 3);
const SECONDS = 2;
const GIB = 2 ** 30;
const MANY = 64;
/** MB/s of a bulk stream that leaves some of two cores free. */
const PACE = 20;

/** A way to the servers: where it begins, and the processes that it leads through. */
type Way = { name: string; bulk: number; small: number; hops: Record<string, number> };

await using scope = new Scope();
const folder = await mkdtemp(join(tmpdir(), "eps-bench-west-"));
scope.defer(() => rm(folder, { recursive: true, force: true }));
await chmod(folder, 0o755); // for the worker of nginx, which is nobody if root starts it
await writeFile(join(folder, "small"), "x".repeat(100));
await writeFile(join(folder, "bulk"), "");
await truncate(join(folder, "bulk"), 4 * GIB); // a hole: reading it needs no disk
const [bulk = 0, small = 0, front = 0] = await freePorts(3);
const files = (port: number): string => `server { listen 127.0.0.1:${port}; root ${folder}; }`;
const servers = {
  bulk: await startNginx("bulk", bulk, files(bulk)),
  small: await startNginx("small", small, files(small)),
};
const passed = (what: string): string =>
  `location /${what} { proxy_pass http://${what}; proxy_http_version 1.1;
     proxy_set_header Connection ""; proxy_buffering off; }`;
const nginx = await startNginx(
  "front",
  front,
  `upstream bulk { server 127.0.0.1:${bulk}; keepalive 64; }
   upstream small { server 127.0.0.1:${small}; keepalive 64; }
   server { listen 127.0.0.1:${front}; ${passed("bulk")} ${passed("small")} }`,
);
const ways: Way[] = [await startWest()];
const [reader, asker] = [startLoad(), startLoad()];

await compare();

/** Asks through all ways in turns, and prints what each costs. */
async function compare(): Promise<void> {
  const found = new Map<string, number[]>();
  const note = (way: Way, what: string, value: number): void => {
    const key = `${way.name.padEnd(8)}${what}`;
    found.set(key, [...(found.get(key) ?? []), value]);
  };
  for (let round = 0; round <= ROUNDS; round += 1) {
    if (round === 1) found.clear(); // the first one only warmed up
    for (const way of ways) {
      for (const streams of [1]) await measureBulk(way, streams, note);

      const alone = await ask(way, 1);
      const [beside] = await Promise.all([ask(way, 1), read(way, 1)]);
      note(way, "one client alone: p50 ms", alone.p50_ms);
      note(way, "one client alone: p99 ms", alone.p99_ms);
      note(way, "one client beside a bulk stream: p50 ms", beside.p50_ms);
      note(way, "one client beside a bulk stream: p99 ms", beside.p99_ms);
      note(way, "p99 beside / p99 alone", beside.p99_ms / alone.p99_ms);
      const [calm] = await Promise.all([ask(way, 1), read(way, 1, PACE)]);
      note(way, `one client beside a bulk stream of ${PACE} MB/s: p50 ms`, calm.p50_ms);
      note(way, `one client beside a bulk stream of ${PACE} MB/s: p99 ms`, calm.p99_ms);
      note(way, `p99 beside ${PACE} MB/s / p99 alone`, calm.p99_ms / alone.p99_ms);
    }
  }
  heading(`Through a tunnel and through nginx, the median of ${ROUNDS} rounds in turns`);
  for (const [what, samples] of found) {
    const { median, min, max } = summary(samples);
    const [told, least, most] = [median, min, max].map((each) => each.toPrecision(3));
    say(`${what.padEnd(54)} ${told}  [${least} - ${most}]`);
  }
}

type Note = (way: Way, what: string, value: number) => void;

async function measureBulk(way: Way, streams: number, note: Note): Promise<void> {
  const spent = meter(way);
  const { bytes, seconds } = await read(way, streams);
  note(way, `${streams} bulk: MB/s`, bytes / seconds / 1e6);
  for (const [who, cpu_s] of Object.entries(spent()))
    note(way, `${streams} bulk: CPU-s/GiB of ${who}`, cpu_s / (bytes / GIB));
}

async function measureRequests(way: Way, note: Note): Promise<void> {
  const spent = meter(way);
  const { answers, seconds, p99_ms } = await ask(way, MANY);
  note(way, `${MANY} clients: requests/s`, answers / seconds);
  note(way, `${MANY} clients: p99 ms`, p99_ms);
  for (const [who, cpu_s] of Object.entries(spent()))
    note(way, `${MANY} clients: CPU-s/1,000 of ${who}`, cpu_s / (answers / 1_000));
}

function read({ bulk: port }: Way, streams: number, pace?: number): Promise<Done> {
  const asked: Work = { what: "bulk", port, path: "/bulk", streams, seconds: SECONDS };
  return work(reader, pace ? { ...asked, pace } : asked);
}

function ask(way: Way, streams: number): Promise<Done> {
  return work(asker, { what: "ask", port: way.small, path: "/small", streams, seconds: SECONDS });
}

/** Processor time from now on, of the load and of each hop. */
function meter({ hops }: Way): () => Record<string, number> {
  const load = [reader.pid, asker.pid, servers.bulk, servers.small].map((pid) => pid ?? 0);
  const now = (): Array<readonly [string, number]> => [
    ...Object.entries(hops).map(([name, pid]) => [name, cpuOf([pid])] as const),
    ["the load", cpuOf(load)],
  ];
  const before = Object.fromEntries(now());
  return () => Object.fromEntries(now().map(([who, cpu_s]) => [who, cpu_s - (before[who] ?? 0)]));
}

async function startWest(): Promise<Way> {
  const sites = scope.use(await Sites.found("settings/dev/west/case-2"));
  const file = join(sites.folder, "g.json");
  const configuration = JSON.parse(await readFile(file, "utf8"));
  const [listener] = Object.values<object>(configuration.proxy);
  Object.assign(listener ?? {}, {
    "/bulk": { ou: `http://127.0.0.1:${bulk}/bulk` },
    "/small": { ou: `http://127.0.0.1:${small}/small` },
  });
  await writeFile(file, JSON.stringify(configuration));
  await sites.startAll(scope.signal);
  const port = sites.port(9931);
  const hops = { "the asking site": sites.program("g").pid, "the other": sites.program("l").pid };
  return { name: "west", bulk: port, small: port, hops };
}

function startLoad(): ChildProcess {
  const program = fileURLToPath(new URL("load.ts", import.meta.url));
  const child = fork(program, { execArgv: ["--import", "tsx"] });
  scope.defer(() => void child.kill());
  return child;
}

async function work(load: ChildProcess, asked: Work): Promise<Done> {
  load.send(asked);
  const [{ done, failed }] = await once(load, "message");
  if (failed !== undefined) throw new Error(failed);
  return done;
}

/** One worker with what `http` says; resolves with its pid once it answers. */
async function startNginx(name: string, port: number, http: string): Promise<number> {
  const own = join(folder, `nginx-${name}`);
  await mkdir(own);
  const paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
  const temporary = paths.map((each) => `${each}_temp_path ${own}/${each};`).join(" ");
  await writeFile(
    join(own, "nginx.conf"),
    `daemon off; worker_processes 1; pid ${own}/pid; error_log ${own}/error.log;
     events { worker_connections 1024; }
     http { access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000; ${temporary} ${http} }`,
  );
  const child = spawn("nginx", ["-p", own, "-c", join(own, "nginx.conf")], { stdio: "ignore" });
  scope.defer(async () => {
    child.kill();
    await once(child, "exit");
  });
  await until(() => answers(port), `nginx (${name}) answers`);
  return child.pid ?? 0;
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const asked = request({ port, path: "/small", agent: false });
    asked.once("response", (answer) => resolve(answer.resume().statusCode === 200));
    asked.once("error", () => resolve(false)).end();
  });
}
