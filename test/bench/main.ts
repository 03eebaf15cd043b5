/** `make bench`: our relay beside those that people would otherwise use, in one run, in turns. */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { Scope } from "../../src/core/scope.ts";
import { heading, say, step } from "../../src/roles/dev/steps.ts";
import { chart } from "./chart.ts";
import { FIRSTS, measureFirsts } from "./firsts.ts";
import { describeMachine } from "./machine.ts";
import { bulk, type Measure, rounds as roundTrips, setups } from "./measures.ts";
import { direct, ours, peers } from "./relays/all.ts";
import { digest, report, withSection } from "./report.ts";
import { type MeasureResult, type Results, resultOf, table } from "./results.ts";
import {
  alternate,
  besideCrowd,
  inScope,
  type Outcome,
  setStage,
  startAll,
  versionOf,
  weigh,
} from "./run.ts";
import { measureSystem, SYSTEM } from "./system.ts";

const RESULTS = new URL("results/", import.meta.url);
const README = new URL("../../README.md", import.meta.url);

const quick = process.env["QUICK"] !== undefined && process.env["QUICK"] !== "";
/** Shows the figures of a noisy run all the same, and keeps them nowhere. */
const anyway = process.env["ANYWAY"] !== undefined && process.env["ANYWAY"] !== "";

const plan = quick
  ? {
      rounds: 2,
      seconds: 0.25,
      sizes: [8],
      trips: [1],
      setups: 150,
      idle: 300,
      strangers: 2_000,
      ...{ firsts: 0, warm_up_s: 1 },
      ...{ weighings: 1, rest_ms: 0 },
    }
  : {
      ...{ rounds: 5, seconds: 0.8, sizes: [1, 8, 64], trips: [1, 64] },
      ...{ setups: 3_000, idle: 8_500, strangers: 19_000, firsts: 9, warm_up_s: 15 },
      ...{ weighings: 2, rest_ms: 5_000 },
    };
const { seconds } = plan;

const measures: Measure[] = [
  ...plan.sizes.map((circuits) => bulk(circuits, { both: false, seconds })),
  ...(quick ? [] : plan.sizes.map((circuits) => bulk(circuits, { both: true, seconds }))),
  ...plan.trips.map((circuits) => roundTrips(circuits, { seconds })),
  setups(plan.setups),
];
const MEMORY = {
  key: "memory",
  title: "Memory of the relay",
  figures: {
    idle: { title: "an idle circuit", unit: "bytes", better: "less" },
    pending: { title: "a connection that has said nothing", unit: "bytes", better: "less" },
  },
} as const;

const CROWD = {
  key: "crowd",
  title: "One byte there and back beside a crowd",
  figures: {
    alone_us: { title: "alone, p50", unit: "µs", better: "less" },
    beside_us: { title: "beside the crowd, p50", unit: "µs", better: "less" },
    times: { title: "of alone", unit: "times", better: "less" },
  },
} as const;

/** What was too noisy to believe is measured once more. */
async function twice(measure: () => Promise<Outcome>): Promise<Outcome> {
  const outcome = await measure();
  if (!outcome.noisy) return outcome;
  say(`too noisy (${outcome.noisy}), once more`);
  return await measure();
}

async function run(scope: Scope): Promise<Results> {
  const present = [direct, ...ours, ...peers].map((each) => ({ each, version: versionOf(each) }));
  for (const { each, version } of present) {
    if (version === undefined) say(`${each.name} is not installed and left out: make bench-deps`);
  }
  const contestants = present.filter(({ version }) => version !== undefined);
  const some = { contestants: contestants.map(({ each }) => each), rounds: plan.rounds };
  const stage = await setStage(scope);
  const results: MeasureResult[] = [];
  const noises: string[] = [];
  const keep = (measure: Parameters<typeof resultOf>[0], outcome: Outcome): void => {
    if (outcome.noisy) noises.push(`${measure.title}: ${outcome.noisy}`);
    if (!outcome.noisy || anyway) results.push(resultOf(measure, outcome));
  };
  const started = scope.use(new Scope());
  const runners = await startAll(some.contestants, stage, started);
  for (const measure of measures) {
    const turns = { runners, rounds: plan.rounds };
    keep(measure, await step(measure.title, () => twice(() => alternate(measure, turns, stage))));
  }
  await started[Symbol.asyncDispose]();
  const { weighings, idle: most, rest_ms } = plan;
  const weighing = { ...some, rounds: weighings, most, rest_ms };
  keep(MEMORY, await step(MEMORY.title, () => weigh(weighing, stage)));
  const beside = { rounds: weighings, count: plan.strangers, seconds };
  keep(CROWD, await step(CROWD.title, () => besideCrowd(beside, stage)));
  keep(SYSTEM, await step(SYSTEM.title, () => measureSystem(plan, scope)));
  if (plan.firsts > 0) {
    keep(FIRSTS, await step(FIRSTS.title, () => measureFirsts(plan.firsts, scope)));
  }
  if (noises.length > 0) {
    heading("Too noisy to report");
    for (const each of noises) say(each);
    process.exitCode = 1;
  }
  return {
    date: new Date().toISOString().slice(0, 10),
    machine: describeMachine(),
    rounds: plan.rounds,
    contestants: contestants.map(({ each: { name, what }, version = "" }) => {
      return { name, what, version };
    }),
    measures: results,
    noisy: noises,
  };
}

const results = await inScope(run);
const [first] = ours;
for (const each of results.measures) {
  heading(each.title);
  say(table(each, each.rows[0] && first ? first.name : ""));
}
if (!quick && !anyway) {
  await mkdir(RESULTS, { recursive: true });
  await writeFile(new URL("bench.json", RESULTS), `${JSON.stringify(results, null, 2)}\n`);
  for (const each of results.measures) {
    await writeFile(new URL(`${each.key}.svg`, RESULTS), chart(each));
  }
  await writeFile(new URL("README.md", RESULTS), report(results, first?.name ?? ""));
  const readme = await readFile(README, "utf8");
  await writeFile(README, withSection(readme, digest(results, first?.name ?? "")));
}
