import { setTimeout as sleep } from "node:timers/promises";
import { explain } from "../../../core/fault.ts";
import { printJson, printLines, styled, visible } from "../../../core/terminal.ts";
import type { JsonrpcClient } from "../../../rpc/jsonrpc/client.ts";
import type { EpsSettings } from "../settings.ts";
import { inWords } from "./call.ts";
import { notRunning, openGatewayClient } from "./gateway.ts";

type PingFlags = { count: number; interval: number; json: boolean };

/** One ping. `hops` are milliseconds by the name of what was waited for, as the endpoint tells them. */
export type Ping = {
  seq: number;
  ms: number;
  hops: Record<string, number>;
  request: string | undefined;
  /** Why there was no answer. */
  lost?: string;
};

const ANSWER_S = 5;

/**
 * Pings an operator through the running endpoint, `interval` seconds from one to the next, `count`
 * times or until it is interrupted, and prints a line for each and statistics at the end. With `json`
 * each line is an object, the statistics too. Tells whether anybody answered.
 */
export async function pingOperator(
  settings: EpsSettings,
  operator: string,
  { count, interval, json }: PingFlags,
  signal: AbortSignal,
): Promise<boolean> {
  await using client = await openGatewayClient(settings);
  const timeout_ms = (settings.call_timeout + ANSWER_S) * 1_000;
  const pings: Ping[] = [];
  if (!json) printLines([`PING ${operator} through ${client.where}`]);
  while (pings.length < count && !signal.aborted) {
    const begun_at = performance.now();
    const ping = await pingOnce(client, operator, { seq: pings.length + 1, timeout_ms, signal });
    if (signal.aborted) break; // interrupted, not lost
    pings.push(ping);
    if (json) printJson({ operator, ...ping });
    else printLines([pingLine(operator, ping)]);
    if (pings.length === count) break;
    const pause_ms = interval * 1_000 - (performance.now() - begun_at);
    await sleep(Math.max(0, pause_ms), undefined, { signal }).catch(() => {});
  }
  const sum = statistics(pings);
  if (json) printJson({ operator, ...sum });
  else printLines(statisticsLines(operator, sum));
  return sum.answered > 0;
}

async function pingOnce(
  client: JsonrpcClient,
  operator: string,
  { seq, timeout_ms, signal }: { seq: number; timeout_ms: number; signal: AbortSignal },
): Promise<Ping> {
  const begun_at = performance.now();
  const ping = { seq, hops: {}, request: undefined };
  try {
    const call = { method: `${operator}._ping`, params: {} };
    const { answer, headers } = await client.exchange(call, { signal, timeout_ms });
    const request = headers["x-request-id"];
    const told = {
      ...ping,
      ms: performance.now() - begun_at,
      hops: hopsOf(headers["server-timing"]),
      request: request === undefined ? undefined : String(request),
    };
    return "error" in answer ? { ...told, lost: inWords(answer.error) } : told;
  } catch (reason) {
    return { ...ping, ms: performance.now() - begun_at, lost: explain(notRunning(reason)) };
  }
}

/** Reads `directory;dur=0.1, call;desc="the call";dur=3.2` (W3C Server-Timing); what has no time is left out. */
export function hopsOf(header: string | string[] | undefined): Record<string, number> {
  const hops: Record<string, number> = {};
  for (const metric of [header ?? []].flat().join(",").split(",")) {
    const [name = "", ...parameters] = metric.split(";").map((part) => part.trim());
    const [, duration] =
      parameters.map((each) => /^dur\s*=\s*"?([\d.]+)"?$/i.exec(each)).find(Boolean) ?? [];
    if (name !== "" && duration !== undefined) hops[name] = Number(duration);
  }
  return hops;
}

export function pingLine(operator: string, { seq, ms, hops, request, lost }: Ping): string {
  const about = `${operator}: seq=${seq}`;
  const id = request === undefined ? "" : `  id=${visible(request)}`;
  if (lost !== undefined) return `${about}  ${styled("red", "lost")}  ${visible(lost)}${id}`;
  const ways = Object.entries(hops).map(([name, time]) => `${visible(name)} ${inMs(time)}`);
  const by = ways.length > 0 ? `  (${ways.join(", ")})` : "";
  return `${about}  time=${inMs(ms)} ms${by}${id}`;
}

type Statistics = {
  count: number;
  answered: number;
  lost: number;
  /** Milliseconds; there are none if nobody answered. */
  times?: { min: number; avg: number; p99: number; max: number };
};

export function statistics(pings: readonly Ping[]): Statistics {
  const times = pings
    .filter(({ lost }) => lost === undefined)
    .map(({ ms }) => ms)
    .sort((a, b) => a - b);
  const counts = {
    count: pings.length,
    answered: times.length,
    lost: pings.length - times.length,
  };
  const [min] = times;
  const max = times.at(-1);
  const p99 = times[Math.ceil(times.length * 0.99) - 1]; // nearest rank
  if (min === undefined || max === undefined || p99 === undefined) return counts;
  const avg = times.reduce((sum, ms) => sum + ms, 0) / times.length;
  return { ...counts, times: { min, avg, p99, max } };
}

export function statisticsLines(
  operator: string,
  { count, answered, lost, times }: Statistics,
): string[] {
  const lines = ["", `${operator}: ${count} pings, ${answered} answered, ${lost} lost`];
  if (times) {
    const { min, avg, p99, max } = times;
    lines.push(`min/avg/p99/max = ${[min, avg, p99, max].map(inMs).join("/")} ms`);
  }
  return lines;
}

function inMs(ms: number): string {
  return ms.toFixed(1);
}
