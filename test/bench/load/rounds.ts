import { now_ms } from "./bulk.ts";
import type { Leg } from "./legs.ts";
import { memory, Poll, READABLE, receive, send } from "./system-calls.ts";

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
    byte.bytes[0] = number & 0xff;
    asked.set(socket, { sent: number & 0xff, since: now_ms() });
    send(socket, byte.address, 1);
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
      else asked.delete(socket);
    });
  }
  const sorted = waits_us.subarray(0, Math.min(rounds, ROUNDS_MAX)).sort();
  const at = (share: number): number => sorted[Math.floor(sorted.length * share)] ?? 0;
  return { rounds, p50_us: at(0.5), p99_us: at(0.99) };
}

/** Sends every byte back until all legs have ended. */
export function answer(legs: readonly Leg[]): void {
  using poll = new Poll();
  let open = legs.length;
  for (const { socket } of legs) poll.add(socket, READABLE);
  while (open > 0) {
    poll.wait((socket) => {
      const count = receive(socket, byte.address, 1);
      if (count > 0) send(socket, byte.address, 1);
      if (count !== 0) return;
      open -= 1;
      poll.remove(socket);
    });
  }
}
