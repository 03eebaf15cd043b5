import { randomBytes } from "node:crypto";
import type { Socket } from "node:net";
import { destination, pino } from "pino";
import { silent } from "../../src/core/log.ts";
import { openMetrics } from "../../src/core/metrics.ts";
import type { Listener } from "../../src/net/listen.ts";
import type { CircuitSettings } from "../../src/relay/circuits.ts";
import type { DoorSettings } from "../../src/relay/doors/admission.ts";
import type { Engine } from "../../src/relay/engine.ts";
import { RelayEvents } from "../../src/relay/events.ts";
import { openKernelEngine } from "../../src/relay/kernel/engine.ts";
import type { Leg } from "../../src/relay/leg.ts";
import { TOKEN_SIZE } from "../../src/relay/rendezvous/pair.ts";
import { openStreamEngine } from "../../src/relay/stream/engine.ts";
import { dialFreely } from "./wires.ts";

/** Silent unless a thread dies, which no test expects that does not say so. */
const loud = pino({ level: "error" }, destination({ dest: 2, sync: true }));

/** Every engine keeps the same contract. */
export const engines: Array<{ name: Engine["name"]; open: () => Promise<Engine> }> = [
  { name: "stream", open: async () => openStreamEngine() },
];
if (process.platform === "linux") {
  const open = () => openKernelEngine({ log: loud });
  engines.push({ name: "kernel", open });
}

/** Limits that a test does not reach, except those it names. */
export function circuitLimits(limits: Partial<CircuitSettings> = {}): CircuitSettings {
  return {
    circuits_max: 100,
    idle_timeout_ms: 60_000,
    circuit_bytes_max: Infinity,
    circuit_duration_max_ms: Infinity,
    drain_timeout_ms: 60_000,
    ...limits,
  };
}

/** A token door, and the legs that come in by it. */
export class Entrance implements AsyncDisposable {
  readonly #door: Listener;
  readonly #expected: Map<string, (leg: Leg) => void>;

  private constructor(door: Listener, expected: Map<string, (leg: Leg) => void>) {
    this.#door = door;
    this.#expected = expected;
  }

  static async open(engine: Engine, settings: Partial<DoorSettings> = {}): Promise<Entrance> {
    const expected = new Map<string, (leg: Leg) => void>();
    const events = new RelayEvents({ log: silent, metrics: openMetrics() });
    const generous = {
      bind: "127.0.0.1:0",
      setting: "test",
      hello_timeout_ms: 20_000,
      strangers_max: 10_000,
      strangers_per_source_max: 10_000,
    };
    // With its getters, since what they bring may change.
    Object.defineProperties(generous, Object.getOwnPropertyDescriptors(settings));
    const door = await engine.openDoor("token", generous, { events }, (hello, leg) => {
      expected.get(hello)?.(leg);
      expected.delete(hello);
    });
    return new Entrance(door, expected);
  }

  get port(): number {
    return this.#door.port;
  }

  /** Comes in and says its hello, and `more` in the same breath. */
  async enter(more: Buffer = Buffer.alloc(0)): Promise<{ outside: Socket; leg: Leg }> {
    const outside = await dialFreely(this.port);
    const token = randomBytes(TOKEN_SIZE);
    const heard = new Promise<Leg>((resolve) => {
      this.#expected.set(token.toString("latin1"), resolve);
    });
    outside.write(Buffer.concat([token, more]));
    return { outside, leg: await heard };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#door[Symbol.asyncDispose]();
  }
}
