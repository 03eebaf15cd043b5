import { createHash } from "node:crypto";
import { once } from "node:events";
import { type IncomingMessage, request } from "node:http";
import { Readable } from "node:stream";
import { afterAll, beforeAll, expect, it } from "vitest";
import { Sites } from "../../src/roles/dev/west.ts";
import { ask, Origin } from "../support/west-bed.ts";

const MIB = 1024 * 1024;
/** `MIB=1024 npx vitest run --config .vitest.ts test/large/west` moves a GiB each way, and tells what it saw. */
const SIZE = Number(process.env["MIB"] ?? 32);
/** Answers to small requests while the large ones are under way. */
const SMALL_MIN = 10;
const BLOCK = Buffer.from(Array.from({ length: MIB }, (_, i) => (i * 7 + (i >> 8)) % 251));

let sites: Sites;
let origin: Origin;

/** As many blocks as are asked for, each of its own. */
function* blocks(): Iterable<Buffer> {
  for (let i = 0; i < SIZE; i += 1) yield Buffer.concat([Buffer.of(i % 256), BLOCK.subarray(1)]);
}

async function digest(stream: AsyncIterable<Buffer>): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of stream) hash.update(chunk);
  return hash.digest("hex");
}

beforeAll(async () => {
  sites = await Sites.found("settings/dev/west/case-2");
  origin = await Origin.open(async (asked, response) => {
    const { searchParams } = new URL(asked.url ?? "", "http://origin");
    if (searchParams.has("large")) return void Readable.from(blocks()).pipe(response);
    response.end(asked.method === "PUT" ? await digest(asked) : "x".repeat(100));
  }, sites.port(9941));
  await sites.startAll(new AbortController().signal);
});
afterAll(async () => {
  await sites?.[Symbol.asyncDispose]();
  await origin?.[Symbol.asyncDispose]();
});

it(`small requests are answered while ${SIZE} MiB move each way through the same tunnel`, {
  timeout: SIZE * 2_000,
}, async () => {
  const port = sites.port(9931);
  const whole = await digest(Readable.from(blocks()));
  const began = performance.now();
  const download = async (): Promise<string> => {
    const asking = request({ port, host: "127.0.0.1", path: "/pa?large", agent: false }).end();
    const [answer] = (await once(asking, "response")) as [IncomingMessage];
    return await digest(answer);
  };
  const upload = async (): Promise<string> => {
    const options = { port, host: "127.0.0.1", path: "/pa", method: "PUT", agent: false };
    const asking = request(options);
    Readable.from(blocks()).pipe(asking);
    const [answer] = (await once(asking, "response")) as [IncomingMessage];
    return (await answer.toArray()).join("");
  };
  let moving = true;
  const moved = Promise.all([download(), upload()]).finally(() => {
    moving = false;
  });
  const took_ms: number[] = [];
  while (moving) {
    const asked = performance.now();
    const { status, body } = await ask(port, "/pa");
    took_ms.push(performance.now() - asked);
    expect({ status, size: body.length }).toEqual({ status: 200, size: 100 });
  }
  expect(await moved).toEqual([whole, whole]);
  const seconds = (performance.now() - began) / 1_000;
  expect(took_ms.length).toBeGreaterThan(SMALL_MIN);
  const sorted = took_ms.sort((one, other) => one - other);
  const at = (share: number): string => sorted[Math.floor(sorted.length * share)]?.toFixed(1) ?? "";
  const seen = `${sorted.length} small requests, p50 ${at(0.5)}, p99 ${at(0.99)} ms`;
  if (process.env["MIB"])
    process.stdout.write(`${SIZE} MiB each way in ${seconds.toFixed(1)} s; ${seen}\n`);
});
