import { now_ms } from "./bulk.ts";
import type { Leg } from "./legs.ts";
import { memory, Poll, READABLE, receive, send } from "./system-calls.ts";

/** Says that no more comes, because not every relay passes on an end before a timeout of its own. */
const OVER = 0xff;
const STALLED_MS = 20_000;
const ROUNDS_MAX = 2_000_000;
const byte = memory(1);

type Rounds = { rounds: number; p50_us: number; p99_us: number };

/** One byte there and one back, again and again on every leg until that time; the next waits for the last. */
export function ask(legs: readonly Leg[], until_ms: number): Rounds {
  using poll = new Poll();
  const waits_us = new Float64Array(ROUNDS_MAX);
  const asked = new Map<number, { sent: number; since: number }>();
  let rounds = 0;
  const next = (socket: number, number: number): void => {
    const sent = number % OVER;
    asked.set(socket, { sent, since: now_ms() });
    say(socket, sent);
  };
  for (const { socket } of legs) {
    poll.add(socket, READABLE);
    next(socket, socket);
  }
  while (asked.size > 0) {
    poll.wait((socket) => {
      const count = receive(socket, byte.address, 1);
      const last = asked.get(socket);
      if (count < 0 || !last) return;
      if (count === 0) throw new Error("a circuit ended by itself while it was asked");
      if (byte.bytes[0] !== last.sent) throw new Error("another byte came back than was sent");
      const now = now_ms();
      waits_us[rounds % ROUNDS_MAX] = (now - last.since) * 1_000;
      rounds += 1;
      if (now < until_ms) next(socket, rounds);
      else {
        asked.delete(socket);
        say(socket, OVER);
      }
    });
    if (now_ms() > until_ms + STALLED_MS) throw new Error(`${asked.size} bytes never came back`);
  }
  const sorted = waits_us.subarray(0, Math.min(rounds, ROUNDS_MAX)).sort();
  const at = (share: number): number => sorted[Math.floor(sorted.length * share)] ?? 0;
  return { rounds, p50_us: at(0.5), p99_us: at(0.99) };
}

/** Sends every byte back until all legs are told that it is over. */
export function answer(legs: readonly Leg[]): void {
  using poll = new Poll();
  let open = legs.length;
  let moved = now_ms();
  for (const { socket } of legs) poll.add(socket, READABLE);
  while (open > 0) {
    poll.wait((socket) => {
      const count = receive(socket, byte.address, 1);
      if (count < 0) return;
      if (count === 0) throw new Error("a circuit ended by itself while it answered");
      moved = now_ms();
      const said = byte.bytes[0] ?? OVER;
      if (said !== OVER) return say(socket, said);
      open -= 1;
      poll.remove(socket);
    });
    if (now_ms() - moved > STALLED_MS)
      throw new Error("nobody asked any more, and it was not over");
  }
}

function say(socket: number, what: number): void {
  byte.bytes[0] = what;
  if (send(socket, byte.address, 1) !== 1) throw new Error("there was no room for one byte");
}
