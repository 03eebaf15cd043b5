/** What the first call to a peer waits for: how many times a message crosses the network and comes back. */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Scope } from "../../src/core/scope.ts";
import type { Town } from "../../src/roles/dev/town.ts";
import {
  foundTown,
  GATEWAY,
  pingHd2,
  settingsWithCertificates,
  startPing,
} from "../support/town.ts";
import { Far } from "./far.ts";
import type { Sample } from "./measures.ts";
import type { Outcome } from "./run.ts";
import { summary } from "./statistics.ts";
import { takeProxyAway } from "./system.ts";

/** The way between any two programs in one direction. Differences between them tell the round trips. */
const DELAYS_MS = [5, 25] as const;
const NOTICED_MS = 200;
const ENDPOINT_GRPC = 5_556;
const HD_2_GRPC = 8_889;
const DOOR = 9_999;

export const FIRSTS = {
  key: "firsts",
  title: "The first call to a peer, with warm control connections",
  figures: {
    trips: { title: "network round trips", unit: "times", better: "less" },
    near_ms: { title: `with ${2 * DELAYS_MS[0]} ms of them, p50`, unit: "ms", better: "less" },
    far_ms: { title: `with ${2 * DELAYS_MS[1]} ms of them, p50`, unit: "ms", better: "less" },
  },
} as const;

/**
 * hd-1 calls hd-2 again and again, and each time all connections between them are broken before. The
 * proxy is as far from both as they are from each other, so all that crosses it takes twice as long.
 */
export async function measureFirsts(calls: number, scope: Scope): Promise<Outcome> {
  const { folder } = scope.use(await settingsWithCertificates());
  const brokered = scope.use(await foundTown(folder));
  const dialled = scope.use(await foundTown(folder));
  await takeProxyAway(dialled);
  const door = scope.use(await Far.open(brokered.port(DOOR)));
  const endpoint = scope.use(await Far.open(brokered.port(ENDPOINT_GRPC)));
  const peer = scope.use(await Far.open(dialled.port(HD_2_GRPC)));
  const base = (town: Town): string => join(town.directory, "001_base.json");
  const proxy = join(brokered.settings("public-proxy-1"), "001_default.yml");
  await replace(proxy, `internal_endpoint: "localhost:${brokered.port(DOOR)}"`, door.port);
  await replace(base(brokered), `"localhost:${brokered.port(ENDPOINT_GRPC)}"`, endpoint.port);
  await replace(base(dialled), `"localhost:${dialled.port(HD_2_GRPC)}"`, peer.port);
  for (const town of [brokered, dialled]) await startPing(town);
  const samples = new Map<string, Sample[]>();
  for (const [name, town, between, control] of [
    ["direct, hd-2 dialled", dialled, peer, undefined],
    ["eps-broker, hd-2 behind the proxy", brokered, door, endpoint],
  ] as const) {
    const p50s: number[] = [];
    for (const delay_ms of DELAYS_MS) {
      between.delay_ms = delay_ms;
      if (control) control.delay_ms = delay_ms;
      p50s.push(summary(await firstCalls(town, between, calls)).median);
    }
    const [near_ms = 0, far_ms = 0] = p50s;
    const trips = (far_ms - near_ms) / (2 * (DELAYS_MS[1] - DELAYS_MS[0]));
    samples.set(name, [{ trips, near_ms, far_ms }]);
  }
  return { samples, noisy: undefined };
}

/** How long first calls take, in milliseconds. */
async function firstCalls(town: Town, between: Far, calls: number): Promise<number[]> {
  await using client = await town.client({ role: "hd-1", port: GATEWAY["hd-1"], as: "hd-1" });
  await pingHd2(town);
  const took_ms: number[] = [];
  for (let tried = 0; took_ms.length < calls; tried += 1) {
    if (tried > 3 * calls) throw new Error("first calls find connections");
    between.cut();
    await sleep(NOTICED_MS);
    const had = between.connections;
    const begun = performance.now();
    const answer = await client.call({ method: "hd-2._ping", params: {}, id: "1" });
    const took = performance.now() - begun;
    if ("error" in answer) throw new Error(`a first call failed: ${answer.error.message}`);
    // gRPC may have dialled again by itself meanwhile, and then this call was none.
    if (between.connections > had) took_ms.push(took);
  }
  return took_ms;
}

async function replace(file: string, mention: string, port: number): Promise<void> {
  const text = await readFile(file, "utf8");
  if (!text.includes(mention)) throw new Error(`${file} does not mention ${mention}`);
  await writeFile(file, text.replaceAll(mention, mention.replace(/\d+(?="$)/, `${port}`)));
}
