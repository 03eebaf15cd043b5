import { explain } from "../core/fault.ts";

/** Says why calls would fail now, in words that lead to the fix; nothing if they would not. */
export type Check = () => Promise<string | undefined> | string | undefined;

type Report = { ready: boolean; checks: Record<string, { ok: boolean; why?: string }> };

/** Would a call succeed now? Not before everything is open, and not any more once it is to close. */
export class Readiness {
  readonly #checks = new Map<string, Check>();
  #opened = false;

  constructor(stop: AbortSignal) {
    this.add("running", () => {
      if (stop.aborted) return "the program is stopping";
      return this.#opened ? undefined : "the program is still starting";
    });
  }

  add(name: string, check: Check): void {
    this.#checks.set(name, check);
  }

  /** Everything is open from now on. */
  opened(): void {
    this.#opened = true;
  }

  async report(): Promise<Report> {
    const found = [...this.#checks].map(async ([name, check]) => {
      const why = await Promise.resolve().then(check).catch(explain);
      return [name, why === undefined ? { ok: true } : { ok: false, why }] as const;
    });
    const checks = Object.fromEntries(await Promise.all(found));
    return { ready: Object.values(checks).every(({ ok }) => ok), checks };
  }
}

/** A check that asks at most every `ms`, however many want to know. */
export function atMostEvery(ms: number, check: Check): Check {
  let asked_at = Number.NEGATIVE_INFINITY;
  let answer: ReturnType<Check>;
  return () => {
    const now = performance.now();
    if (now - asked_at >= ms) {
      asked_at = now;
      answer = check();
    }
    return answer;
  };
}
