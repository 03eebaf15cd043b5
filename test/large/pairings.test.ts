import { once } from "node:events";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import type { Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { poolAgent } from "../../src/relay/agent/agent.ts";
import { echo } from "../../src/relay/agent/targets.ts";
import { freePorts } from "../../src/roles/dev/ports.ts";
import { Program } from "../../src/roles/dev/processes.ts";
import { samples } from "../support/metrics.ts";
import { eventually } from "../support/town.ts";
import { until } from "../support/until.ts";
import { dialFreely } from "../support/wires.ts";

const MIB = 1024 * 1024;
/** `PAIRS=500000 npx vitest run --config .vitest.ts test/large/pairings` takes minutes, and tells what it saw. */
const PAIRS = Number(process.env["PAIRS"] ?? 2_000);
const AT_ONCE = 32;
/** What a heap may grow by before it is collected; in half a million pairs that is 134 bytes for each. */
const GROWTH_MAX = 64 * MIB;

it.runIf(process.platform === "linux")(
  `nothing is left of ${PAIRS} pairs at a relay`,
  async () => {
    const folder = await mkdtemp(join(tmpdir(), "eps-pairings-"));
    const [data = 0, command = 0, client = 0, status = 0] = await freePorts(4);
    const settings = join(folder, "pools.yml");
    await writeFile(
      settings,
      `metrics: {bind_address: "127.0.0.1:${status}"}
pools:
  - name: many
    data_bind_address: 127.0.0.1:${data}
    command_bind_address: 127.0.0.1:${command}
    client_bind_address: 127.0.0.1:${client}
    queue_timeout: 60
`,
    );
    const env = { ...process.env, PROXY_SETTINGS: settings };
    const argv = ["proxy", "--level", "warn", "run", "pool"];
    const relay = new Program("relay", { argv, env, logs: folder, keep: false });
    const proc = (file: string): string => `/proc/${relay.pid}/${file}`;
    const seen = async () => samples(await (await get(status, "metrics")).text());
    try {
      await eventually(40_000, async () => expect((await get(status, "readyz")).ok).toBe(true));
      const idle = await descriptors(proc("fd"));
      const agent = poolAgent({
        relay: `127.0.0.1:${data}`,
        commands: `127.0.0.1:${command}`,
        size: 2 * AT_ONCE,
        handler: echo(),
      });
      await until(() => agent.count.waiting === 2 * AT_ONCE, "connections wait");

      const pairsFrom = async (from: number, to: number): Promise<void> => {
        let next = from;
        const visitors = Array.from({ length: AT_ONCE }, async (_, visitor) => {
          while (next < to) await visit(client, `127.0.${1 + visitor}.1`, next++);
        });
        await Promise.all(visitors);
      };
      await pairsFrom(0, PAIRS / 10);
      const before = await rss(proc("statm"));
      const began_at = performance.now();
      await pairsFrom(PAIRS / 10, PAIRS);
      const took_s = (performance.now() - began_at) / 1_000;
      const after = await rss(proc("statm"));

      await agent[Symbol.asyncDispose]();
      await until(async () => (await descriptors(proc("fd"))) <= idle, "no descriptor is left");
      const now = await seen();
      for (const what of ["offers", "demands", "matches"])
        expect(now.get(`eps_broker_pool{pool="many",what="${what}"}`), what).toBe(0);
      expect(now.get('eps_broker_circuits_open{door="pool"}')).toBe(0);
      expect(now.get('eps_broker_strangers{door="pool"}')).toBe(0);
      const ended = [...now].filter(([name]) => name.startsWith("eps_broker_circuits_total"));
      expect(ended.reduce((sum, [, count]) => sum + count, 0)).toBe(PAIRS);
      expect(after - before, "growth since the first tenth").toBeLessThan(GROWTH_MAX);
      if (process.env["PAIRS"]) {
        const rate = Math.round((0.9 * PAIRS) / took_s);
        const [was, is] = [before, after].map((bytes) => `${Math.round(bytes / MIB)} MiB`);
        const told = `${rate} pairs a second; ${was} after the first tenth, ${is} at the end`;
        process.stdout.write(`${told}\n`);
      }
    } finally {
      await relay.stop();
      await rm(folder, { recursive: true, force: true });
    }
  },
  PAIRS * 20 + 60_000,
);

/** Comes, says a word, hears it, and leaves: by an end or by a reset, in turn. */
async function visit(port: number, from: string, number: number): Promise<void> {
  const socket: Socket = await dialFreely(port, from);
  socket.write("word");
  await once(socket, "data");
  if (number % 2 === 0) socket.resetAndDestroy();
  else {
    socket.end();
    await once(socket, "end");
    socket.destroy();
  }
}

const get = (port: number, path: string): Promise<Response> =>
  fetch(`http://127.0.0.1:${port}/${path}`);
const descriptors = async (folder: string): Promise<number> => (await readdir(folder)).length;

async function rss(file: string): Promise<number> {
  const [, pages] = (await readFile(file, "utf8")).split(" ");
  return Number(pages) * 4_096;
}
