/** `make bench-guard`: is a byte through our relay still about as cheap as through the best known ones? */
import type { Scope } from "../../src/core/scope.ts";
import { heading, say } from "../../src/roles/dev/steps.ts";
import { bulk } from "./measures.ts";
import { direct, haproxySplice, kernel, nginxShipped, ours, stream } from "./relays/all.ts";
import type { Contestant } from "./relays/relay.ts";
import { span } from "./results.ts";
import { alternate, inScope, setStage, startAll, versionOf } from "./run.ts";
import { ratio, summary, type Verdict, verdict } from "./statistics.ts";

const ROUNDS = 5;
const SECONDS = 0.7;
const CIRCUITS = 8;
/** How many times the peer's processor time for each GiB ours may cost, in the median. */
const MOST = 2;
const PAIRS = [
  { mine: kernel, peer: haproxySplice },
  { mine: stream, peer: nginxShipped },
].filter(({ mine }) => ours.includes(mine));

async function compare(scope: Scope): Promise<Verdict> {
  const stage = await setStage(scope);
  const contestants: Contestant[] = [direct, ...PAIRS.flatMap(({ mine, peer }) => [mine, peer])];
  const measure = bulk(CIRCUITS, { both: false, seconds: SECONDS });
  const { samples, noisy } = await alternate(
    measure,
    { runners: await startAll(contestants, stage, scope), rounds: ROUNDS },
    stage,
  );
  const costs = (contestant: Contestant): number[] =>
    (samples.get(contestant.name) ?? []).map((sample) => sample["cpu_s_per_gib"] ?? 0);
  if (noisy) say(`this run was too noisy to tell: ${noisy}`);
  const verdicts = PAIRS.map(({ mine, peer }) => {
    const [own, theirs] = [costs(mine), costs(peer)];
    const told = verdict({ ours: own, theirs, most: MOST }, noisy);
    say(
      `${told}: ${mine.name} ${span(summary(own))}, ${peer.name} ${span(summary(theirs))} CPU-s/GiB: ` +
        `${ratio(own, theirs).toFixed(2)} ×, at most ${MOST} × is allowed`,
    );
    return told;
  });
  return verdicts.find((each) => each !== "passed") ?? "passed";
}

const missing = PAIRS.filter(({ peer }) => versionOf(peer) === undefined);
if (missing.length > 0) {
  say(`${missing.map(({ peer }) => peer.name).join(" and ")} are missing: make bench-deps`);
  process.exit(1);
}
heading(`Processor time for each GiB, ${CIRCUITS} circuits, ${ROUNDS} rounds in turns`);
let told = await inScope(compare);
if (told === "unsure") {
  say("once more");
  told = await inScope(compare);
}
if (told === "unsure") say("not told: the machine is too busy with other things");
process.exitCode = told === "failed" ? 1 : 0;
