import { spawnSync } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { orAbort } from "../../src/core/deadline.ts";
import { explain } from "../../src/core/fault.ts";
import { Scope } from "../../src/core/scope.ts";
import { say } from "../../src/roles/dev/steps.ts";
import { Load } from "./load/load.ts";
import { cpuOf, watch } from "./machine.ts";
import { crowd, type Measure, memory, type Sample, type Sides, silence } from "./measures.ts";
import { direct, ours } from "./relays/all.ts";
import type { Contestant, Relay } from "./relays/relay.ts";
import { noise, type Surroundings } from "./statistics.ts";

/** What a measure brought: the samples of every contestant by figure, and why not to believe them. */
export type Outcome = {
  readonly samples: ReadonlyMap<string, readonly Sample[]>;
  readonly noisy: string | undefined;
};

/** Where a run happens: both sides of the load, and a folder for everything that is written. */
export type Stage = Sides & { readonly folder: string; readonly target: number };

/** Works in a scope that closes also when somebody interrupts, so that nothing is left running. */
export async function inScope<T>(work: (scope: Scope) => Promise<T>): Promise<T> {
  const interrupted = new AbortController();
  const abort = (): void => interrupted.abort(new Error("interrupted"));
  process.once("SIGINT", abort).once("SIGTERM", abort);
  const scope = new Scope();
  const working = work(scope);
  try {
    return await orAbort(working, interrupted.signal);
  } finally {
    await scope[Symbol.asyncDispose]();
    await working.catch(() => {}); // told above, or cut off by the interruption
    process.off("SIGINT", abort).off("SIGTERM", abort);
  }
}

export async function setStage(scope: Scope): Promise<Stage> {
  const folder = await mkdtemp(join(tmpdir(), "eps-bench-"));
  scope.defer(() => rm(folder, { recursive: true, force: true }));
  const caller = scope.use(new Load("caller"));
  const callee = scope.use(new Load("callee"));
  const { port: target } = await callee.do("listen", {});
  return { caller, callee, folder, target };
}

/** The version that a contestant's program says, ours for ours; undefined if it is not installed. */
export function versionOf({ program }: Contestant): string | undefined {
  if (!program) return "this version";
  const { error, stdout, stderr } = spawnSync(program.command, program.version, {
    encoding: "utf8",
  });
  if (error) return undefined;
  return /\d+(\.\d+)+[\w.+-]*/.exec(`${stdout}${stderr}`)?.[0] ?? "of unknown version";
}

/** A contestant and its relay, which the scope owns. */
type Runner = { readonly contestant: Contestant; readonly relay: Relay };

export async function startAll(
  contestants: readonly Contestant[],
  stage: Stage,
  scope: Scope,
): Promise<Runner[]> {
  const runners: Runner[] = [];
  for (const contestant of contestants) {
    scope.signal.throwIfAborted();
    const relay = scope.use(await contestant.start(await placeIn(stage)));
    runners.push({ contestant, relay });
  }
  return runners;
}

/**
 * Puts the runners through a measure in turns, every round beginning with another one. The round
 * before the first only warms them up. A peer that fails misses the round, and after its second time is
 * left out, both of which are told; when ours fails, so does the run.
 */
export async function alternate(
  measure: Measure,
  { runners, rounds }: { runners: readonly Runner[]; rounds: number },
  stage: Stage,
): Promise<Outcome> {
  const samples = new Map<string, Sample[]>(runners.map((each) => [each.contestant.name, []]));
  const pids = [stage.caller.pid, stage.callee.pid, ...runners.flatMap(({ relay }) => relay.pids)];
  const own = (): number => cpuOf([process.pid, ...pids]);
  const surroundings: Surroundings[] = [];
  const failed = new Set<string>();
  for (let round = -1; round < rounds; round += 1) {
    for (const turn of runners.keys()) {
      const runner = runners[(turn + round + 1) % runners.length];
      const mine = samples.get(runner?.contestant.name ?? "");
      if (!runner || !mine) continue;
      const [look, before] = [watch(), own()];
      const { contestant, relay } = runner;
      try {
        const sample = await measure.sample(relay, stage, contestant);
        if (round < 0) continue;
        mine.push(sample);
      } catch (reason) {
        const isLeftOut = failed.has(contestant.name);
        const what = `${contestant.name} ${isLeftOut ? "is left out" : "failed once"}: ${explain(reason)}`;
        if (!contestant.program) throw new Error(what, { cause: reason });
        say(what);
        if (isLeftOut) samples.delete(contestant.name);
        failed.add(contestant.name);
        await Promise.all([stage.caller.do("close", {}), stage.callee.do("close", {})]);
      }
      surroundings.push(look(own() - before));
    }
  }
  const steady = samples.get(direct.name) ?? [];
  const noisy = noise(
    steady.map((sample) => sample[measure.steady] ?? 0),
    surroundings,
  );
  return { samples, noisy };
}

/** Memory needs no turns: each time a relay is started for it. Noise does not change it. */
export async function weigh(
  {
    contestants,
    rounds,
    most,
    rest_ms,
  }: { contestants: readonly Contestant[]; rounds: number; most: number; rest_ms: number },
  stage: Stage,
): Promise<Outcome> {
  const samples = new Map<string, Sample[]>();
  for (const contestant of contestants.filter((each) => each !== direct)) {
    const each: Sample[] = [];
    for (let round = 0; round < rounds; round += 1) {
      const resting = { ...stage, rest_ms: rest_ms && (contestant.rest_ms ?? rest_ms) };
      const idle = await memory(contestant, await placeIn(stage), { ...resting, most });
      const pending = contestant.program
        ? {}
        : await silence(contestant, await placeIn(stage), resting);
      each.push({ ...idle, ...pending });
    }
    samples.set(contestant.name, each);
  }
  return { samples, noisy: undefined };
}

/** How ours fare beside a crowd of strangers. Only relays that are told something have any. */
export async function besideCrowd(
  { rounds, count, seconds }: { rounds: number; count: number; seconds: number },
  stage: Stage,
): Promise<Outcome> {
  await using strangers = new Load("strangers");
  const samples = new Map<string, Sample[]>();
  for (let round = 0; round < rounds; round += 1) {
    for (const contestant of ours) {
      const place = await placeIn(stage);
      const sample = await crowd(contestant, place, { ...stage, strangers, count, seconds });
      samples.set(contestant.name, [...(samples.get(contestant.name) ?? []), sample]);
    }
  }
  return { samples, noisy: undefined };
}

async function placeIn({ folder, target }: Stage): Promise<{ folder: string; target: number }> {
  return { folder: await mkdtemp(join(folder, "relay-")), target };
}
