/** The whole system: a ping from one organisation to another, through the proxy and without. */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { credentials } from "@grpc/grpc-js";
import type { Scope } from "../../src/core/scope.ts";
import type { Town } from "../../src/roles/dev/town.ts";
import { Eps, type WireResponse } from "../../src/rpc/grpc/messages.ts";
import { foundTown, GATEWAY, settingsWithCertificates, startPing } from "../support/town.ts";
import { cpuOf, watch } from "./machine.ts";
import type { Sample } from "./measures.ts";
import type { Outcome } from "./run.ts";
import { noise, type Surroundings, summary } from "./statistics.ts";

const HD_2_GRPC = 8_889;
const TOGETHER = 16;
const METHOD = "hd-2._ping";
const PARTS = ["sd-1", "public-proxy-1", "public-proxy-eps-1", "hd-1", "hd-2"];

export const SYSTEM = {
  key: "system",
  title: "A ping through the whole system",
  figures: {
    warm_ms: { title: "one caller, p50", unit: "ms", better: "less" },
    per_s: { title: `${TOGETHER} callers`, unit: "calls/s", better: "more" },
    p99_ms: { title: "one caller, p99", unit: "ms", better: "less" },
    cold_ms: { title: "the first call after a start", unit: "ms", better: "less" },
  },
} as const;

type Done = (reason: Error | null, answer: WireResponse) => void;

/** A way to ping hd-2 from hd-1, and how to start it anew, where its first call means something. */
type Pinger = { name: string; ping: () => Promise<unknown>; renew?: () => Promise<void> };

export async function measureSystem(
  plan: { rounds: number; seconds: number; warm_up_s: number },
  scope: Scope,
): Promise<Outcome> {
  const { folder } = scope.use(await settingsWithCertificates());
  const brokered = scope.use(await foundTown(folder));
  const dialled = scope.use(await foundTown(folder));
  await takeProxyAway(dialled);
  for (const town of [brokered, dialled]) await startPing(town);
  const pingers = [
    await ofGrpc(dialled, scope),
    await ofTown("eps-broker, hd-2 behind the proxy", brokered, scope),
    await ofTown("eps-broker, hd-2 dialled", dialled, scope),
    // What the hop by JSON-RPC costs alone, which direct gRPC does not have.
    await ofEndpoint("eps-broker, hd-1 asked about itself", dialled, scope, "hd-1._ping"),
  ];
  const pids = [brokered, dialled].flatMap((town) => PARTS.map((part) => town.program(part).pid));
  const surroundings: Surroundings[] = [];
  // Node goes on compiling for thousands of calls, which a program that runs for days has behind it.
  for (const { ping } of pingers) await callFor(plan.warm_up_s, TOGETHER, ping);
  const inTurns = async (work: (pinger: Pinger) => Promise<Sample>): Promise<Sample[][]> => {
    const done: Sample[][] = pingers.map(() => []);
    for (let round = 0; round < plan.rounds; round += 1) {
      for (const turn of pingers.keys()) {
        const index = (turn + round) % pingers.length;
        const pinger = pingers[index];
        if (!pinger) continue;
        const [look, before] = [watch(), cpuOf([process.pid, ...pids])];
        done[index]?.push(await work(pinger));
        surroundings.push(look(cpuOf([process.pid, ...pids]) - before));
      }
    }
    return done;
  };
  const warm = await inTurns((pinger) => measure(pinger, plan.seconds));
  // At the end, because a program that was started anew is slow at first.
  const first = await inTurns(firstCall);
  const samples = new Map(
    pingers.map(({ name }, index) => [
      name,
      (warm[index] ?? []).map((sample, round) => ({ ...sample, ...first[index]?.[round] })),
    ]),
  );
  const steady = samples.get(pingers[0]?.name ?? "") ?? [];
  const rates = steady.map((sample) => sample["per_s"] ?? 0);
  return { samples, noisy: noise(rates, surroundings) };
}

async function measure({ ping }: Pinger, seconds: number): Promise<Sample> {
  await ping();
  const alone = await callFor(seconds, 1, ping);
  const together = await callFor(seconds, TOGETHER, ping);
  const sorted = alone.sort((a, b) => a - b);
  return {
    warm_ms: summary(sorted).median,
    p99_ms: sorted[Math.floor(sorted.length * 0.99)] ?? 0,
    per_s: together.length / seconds,
  };
}

/** How long each call took, in milliseconds, of so many callers who call again and again. */
async function callFor(seconds: number, callers: number, ping: () => Promise<unknown>) {
  const took_ms: number[] = [];
  const until = performance.now() + seconds * 1_000;
  const call = async (): Promise<void> => {
    for (let begun = performance.now(); begun < until; begun = performance.now()) {
      await ping();
      took_ms.push(performance.now() - begun);
    }
  };
  await Promise.all(Array.from({ length: callers }, call));
  return took_ms;
}

async function firstCall({ renew, ping }: Pinger): Promise<Sample> {
  if (!renew) return {};
  await renew();
  const begun = performance.now();
  await ping();
  return { cold_ms: performance.now() - begun };
}

/** JSON-RPC to hd-1's endpoint. */
async function ofEndpoint(name: string, town: Town, scope: Scope, method: string): Promise<Pinger> {
  const client = scope.use(await town.client({ role: "hd-1", port: GATEWAY["hd-1"], as: "hd-1" }));
  return {
    name,
    ping: async () => {
      const answer = await client.call({ method, params: {}, id: "1" });
      if ("error" in answer) throw new Error(`${name}: ${answer.error.message}`);
    },
  };
}

/** The same to ask hd-2, through an endpoint that is started anew for a first call. */
async function ofTown(name: string, town: Town, scope: Scope): Promise<Pinger> {
  return {
    ...(await ofEndpoint(name, town, scope, METHOD)),
    renew: async () => {
      await town.stop("hd-1");
      await town.start("hd-1");
    },
  };
}

/** gRPC's own client with hd-1's certificate, straight to hd-2. */
async function ofGrpc(town: Town, scope: Scope): Promise<Pinger> {
  const [ca, cert, key] = await Promise.all(
    ["root.crt", "hd-1.crt", "hd-1.key"].map((file) => readFile(join(town.certs, file))),
  );
  const tls = credentials.createSsl(ca ?? null, key, cert);
  const open = () =>
    new Eps(`localhost:${town.port(HD_2_GRPC)}`, tls, {
      "grpc.ssl_target_name_override": "hd-2",
      "grpc.use_local_subchannel_pool": 1,
    });
  let client = open();
  scope.defer(() => client.close());
  return {
    name: "direct gRPC",
    ping: async () => {
      const call = promisify((client["Call"] as (asked: object, done: Done) => void).bind(client));
      const request = { method: METHOD, id: `${METHOD}(1)`, params: {}, clientName: "hd-1" };
      const { error } = await call(request);
      if (error) throw new Error(`direct gRPC: ${error.message}`);
    },
    renew: async () => {
      client.close();
      client = open();
    },
  };
}

/** Lets the directory say that hd-2 can be dialled. */
export async function takeProxyAway(town: Town): Promise<void> {
  const file = join(town.directory, "001_base.json");
  const { records } = JSON.parse(await readFile(file, "utf8"));
  for (const { name, section, data } of records) {
    if (name !== "hd-2" || section !== "channels") continue;
    for (const { settings } of data) delete settings.proxy;
  }
  await writeFile(file, JSON.stringify({ records }));
}
