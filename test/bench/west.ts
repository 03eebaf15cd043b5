/** How a web server is reached through a tunnel of west, beside nginx as a plain reverse proxy, in one run. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Agent, request } from "undici";
import { Scope } from "../../src/core/scope.ts";
import { freePorts } from "../../src/roles/dev/ports.ts";
import { heading, say } from "../../src/roles/dev/steps.ts";
import { Sites } from "../../src/roles/dev/west.ts";
import { until } from "../support/until.ts";

const SECONDS = 2;
const ROUNDS = 3;
const CHUNK = Buffer.alloc(64 * 1024, "x");

type Way = { name: string; url: string };

await using scope = new Scope();
const origin = createServer((asked, reply) => {
  if (!asked.url?.endsWith("?bulk")) return void reply.end("x".repeat(100));
  const pour = (): void => {
    while (!reply.destroyed && reply.write(CHUNK));
  };
  reply.on("drain", pour).on("error", () => {});
  pour();
});
const sites = scope.use(await Sites.found("settings/dev/west/case-2"));
origin.listen(sites.port(9941), "127.0.0.1");
await once(origin, "listening");
scope.defer(() => {
  origin.close();
  origin.closeAllConnections();
});
await sites.startAll(scope.signal);
const ways: Way[] = [
  { name: "direct", url: `http://127.0.0.1:${sites.port(9941)}/a` },
  { name: "west v2", url: `http://127.0.0.1:${sites.port(9931)}/pa` },
  { name: "nginx", url: await startNginx(sites.port(9941), scope) },
];

/** MB/s of endless answers. */
async function bulk({ url }: Way, streams: number): Promise<number> {
  const dispatcher = new Agent({ connections: streams });
  const stop = AbortSignal.timeout(SECONDS * 1_000);
  let bytes = 0;
  const read = async (): Promise<void> => {
    const { body } = await request(`${url}?bulk`, { dispatcher, signal: stop });
    for await (const chunk of body) bytes += chunk.length;
  };
  await Promise.allSettled(Array.from({ length: streams }, read));
  await dispatcher.destroy();
  return bytes / SECONDS / 1e6;
}

/** Requests per second for 100 bytes, and the 99th percentile of their milliseconds. */
async function small({ url }: Way, streams: number): Promise<{ rate: number; p99: number }> {
  const dispatcher = new Agent({ connections: streams });
  const took: number[] = [];
  const end = performance.now() + SECONDS * 1_000;
  const ask = async (): Promise<void> => {
    while (performance.now() < end) {
      const began = performance.now();
      const { body } = await request(url, { dispatcher });
      await body.dump();
      took.push(performance.now() - began);
    }
  };
  await Promise.all(Array.from({ length: streams }, ask));
  await dispatcher.close();
  took.sort((one, other) => one - other);
  return { rate: took.length / SECONDS, p99: took[Math.floor(took.length * 0.99)] ?? 0 };
}

async function startNginx(port: number, owner: Scope): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "eps-nginx-"));
  owner.defer(() => rm(folder, { recursive: true, force: true }));
  const [own = 0] = await freePorts(1);
  const paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
  const temporary = paths.map((each) => `${each}_temp_path ${folder}/${each};`).join(" ");
  await writeFile(
    join(folder, "nginx.conf"),
    `daemon off; worker_processes 1; pid ${folder}/pid; error_log ${folder}/error.log;
     events { worker_connections 1024; }
     http { access_log off; ${temporary}
       upstream origin { server 127.0.0.1:${port}; keepalive 64; }
       server { listen 127.0.0.1:${own}; location / {
         proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off; } } }`,
  );
  const nginx = spawn("nginx", ["-p", folder, "-c", join(folder, "nginx.conf")], {
    stdio: "ignore",
  });
  owner.defer(async () => {
    nginx.kill();
    await once(nginx, "exit");
  });
  const url = `http://127.0.0.1:${own}/a`;
  await until(
    () =>
      request(url)
        .then(({ body }) => body.dump().then(() => true))
        .catch(() => false),
    "nginx answers",
  );
  return url;
}

const middle = (values: number[]): number => values.sort((a, b) => a - b)[values.length >> 1] ?? 0;

heading(`Through a tunnel and through nginx, the median of ${ROUNDS} rounds in turns`);
const told = ways.map((way) => ({ way, one: [0], many: [0], rate: [0], p99: [0], beside: [0] }));
for (const row of told)
  for (const key of ["one", "many", "rate", "p99", "beside"] as const) row[key].pop();
for (let round = 0; round < ROUNDS; round += 1) {
  for (const { way, one, many, rate, p99, beside } of told) {
    one.push(await bulk(way, 1));
    many.push(await bulk(way, 64));
    const alone = await small(way, 64);
    rate.push(alone.rate);
    p99.push((await small(way, 1)).p99);
    const [busy] = await Promise.all([small(way, 1), bulk(way, 1)]);
    beside.push(busy.p99);
  }
}
for (const { way, one, many, rate, p99, beside } of told) {
  say(
    `${way.name.padEnd(8)} 1 stream ${middle(one).toFixed(0)} MB/s, 64 streams ${middle(many).toFixed(0)} MB/s, ` +
      `${middle(rate).toFixed(0)} requests/s of 64, p99 of one ${middle(p99).toFixed(2)} ms, beside a bulk stream ${middle(beside).toFixed(2)} ms`,
  );
}
