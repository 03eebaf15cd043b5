import type { Socket } from "node:net";
import { isDeepStrictEqual } from "node:util";
import { Worker } from "node:worker_threads";
import { Backoff, Deadline, orAbort } from "../../core/deadline.ts";
import { Fault } from "../../core/fault.ts";
import { collectWhenQuiet } from "../../core/heap.ts";
import type { Log } from "../../core/log.ts";
import { packageFile } from "../../core/package.ts";
import { bindServer, type Listener } from "../../net/listen.ts";
import { type DoorLimits, type DoorSettings, refusalOf } from "../doors/admission.ts";
import type { Greeted } from "../doors/greetings.ts";
import type { Admit, Engine } from "../engine.ts";
import type { RelayEvents } from "../events.ts";
import type { Line, Side } from "../leg.ts";
import type { Splice } from "../splice.ts";
import { openStreamDoor } from "../stream/door.ts";
import { isPossible, takeConnection, takeListener } from "./descriptors.ts";
import { Life } from "./life.ts";
import { F_DUPFD_CLOEXEC, type Linux, loadLinux } from "./linux.ts";
import { GATES_MAX, OTHER, type Report } from "./messages.ts";

const START_MS = 10_000;
const STOP_MS = 5_000;
/** A thread that lived so long was well: if it dies, another one is started at once. */
const SETTLED_MS = 5_000;
const EXHAUSTED_AGAIN_MS = 60_000;
/** How soon limits that were loaded again hold. */
const LIMITS_AGAIN_MS = 100;

/** What the thread makes lives long or not at all, so the default of 48 MiB for the young would only fill up. */
const THREAD_LIMITS = { maxYoungGenerationSizeMb: 4 };

type OpenGate = {
  readonly slot: number;
  readonly door: Greeted;
  readonly settings: DoorSettings;
  readonly events: RelayEvents;
  readonly admit: Admit;
  readonly listener: number;
  /** As the worker knows them. */
  limits: DoorLimits;
};

export type KernelOptions = { log: Log; start?: (workerData: unknown) => Worker };

/** Starts the engine for Linux. Throws, and says why, where it cannot work. */
export async function openKernelEngine({
  log,
  start = startWorker,
}: KernelOptions): Promise<Engine> {
  const linux = await loadLinux();
  const probe = await bindServer("127.0.0.1:0", "");
  const possible = isPossible(probe);
  probe.close();
  if (!possible) throw new Error("this Node does not let go of descriptors");
  const engine = new KernelEngine(linux, start, log);
  using deadline = new Deadline(START_MS, "starting the kernel splice");
  try {
    await orAbort(engine.started, deadline.signal);
  } catch (reason) {
    await engine[Symbol.asyncDispose]();
    throw reason;
  }
  return engine;
}

/** A thread cannot run TypeScript, so it is the built one. */
export function startWorker(workerData: unknown): Worker {
  const built = packageFile("dist/relay/kernel/worker.js");
  return new Worker(built, { workerData, resourceLimits: THREAD_LIMITS });
}

/** Linux moves the bytes: a thread of its own waits at the doors and splices what comes in by them. */
class KernelEngine implements Engine {
  readonly name = "kernel";
  /** Rejects if the first thread dies before it is ready. */
  readonly started: Promise<void>;
  readonly #linux: Linux;
  readonly #start: (workerData: unknown) => Worker;
  readonly #log: Log;
  readonly #gates = new Map<number, OpenGate>();
  readonly #stop = new AbortController();
  readonly #backoff = new Backoff();
  readonly #watcher: NodeJS.Timeout;
  #life: Life;
  #ready: () => void = () => {};
  /** Has a thread ever worked here? Then it is worth while to start another. */
  #isReady = false;
  #nextGate = 0;
  #exhausted_at = -Infinity;

  constructor(linux: Linux, start: (workerData: unknown) => Worker, log: Log) {
    this.#linux = linux;
    this.#start = start;
    this.#log = log;
    const ready = new Promise<void>((resolve) => {
      this.#ready = () => {
        this.#isReady = true;
        resolve();
      };
    });
    this.#life = this.#live();
    const over = this.#life.over.then((reason) => {
      throw reason ?? new Error("the thread ended");
    });
    this.started = Promise.race([ready, over]);
    this.#watcher = setInterval(() => this.#renewLimits(), LIMITS_AGAIN_MS).unref();
    collectWhenQuiet(this.#stop.signal); // no byte passes this thread, so none is slower for it
  }

  async openDoor(
    door: Greeted,
    settings: DoorSettings,
    { events }: { events: RelayEvents },
    admit: Admit,
  ): Promise<Listener> {
    if (settings.share) {
      const adopt = (socket: Socket, signal: AbortSignal) => this.adopt(socket, signal);
      return await openStreamDoor(door, settings, { events, adopt }, admit);
    }
    const taken = new Set([...this.#gates.values()].map(({ slot }) => slot));
    const slot = Array.from({ length: GATES_MAX }, (_, i) => i).find((i) => !taken.has(i));
    if (slot === undefined) throw new Fault("overloaded", `${GATES_MAX} doors are open already`);
    const number = this.#nextGate++;
    const server = await bindServer(settings.bind, settings.setting);
    const { port } = server.address() as { port: number };
    const listener = takeListener(this.#linux, server);
    const limits = limitsOf(settings);
    this.#gates.set(number, { slot, door, settings, events, admit, listener, limits });
    this.#openGate(number);
    events.watchStrangers(door, () => this.#life.shared.strangers[slot] ?? 0);
    return {
      port,
      [Symbol.asyncDispose]: async () => {
        if (!this.#gates.delete(number)) return; // a number that is closed twice may be somebody else's
        this.#linux.close(listener);
        this.#life.post(["close", number]);
      },
    };
  }

  async adopt(socket: Socket, signal: AbortSignal): Promise<Line> {
    if (socket.writableLength > 0) {
      const sent = new Promise<void>((resolve, reject) => {
        const gone = (cause: unknown) =>
          new Fault("unreachable", "the connection broke", { cause });
        socket.write("", (error) => (error ? reject(gone(error)) : resolve()));
      });
      await orAbort(sent, signal);
    }
    const { descriptor, unread } = takeConnection(this.#linux, socket);
    return this.#life.adopt(descriptor, unread);
  }

  splice(lines: Record<Side, Line>, { bytes_max }: { bytes_max: number }): Splice {
    return this.#life.splice(lines, bytes_max);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#watcher);
    this.#stop.abort();
    for (const { listener } of this.#gates.values()) this.#linux.close(listener);
    this.#gates.clear();
    using deadline = new Deadline(STOP_MS, "stopping the kernel splice");
    await orAbort(this.#life.stop(), deadline.signal).catch(() => this.#life.kill());
  }

  #live(): Life {
    const began_at = performance.now();
    const life = new Life(this.#linux, this.#start, (report) => this.#hear(life, report));
    void life.over.then((reason) => this.#died(reason, began_at));
    return life;
  }

  /** Another thread takes over the doors. What the old one had is lost, and whose it was has been told. */
  async #died(reason: Error | undefined, began_at: number): Promise<void> {
    const stop = this.#stop.signal;
    if (stop.aborted || !this.#isReady) return;
    this.#log.error({ err: reason }, "the splicing thread died, and its circuits with it");
    if (performance.now() - began_at > SETTLED_MS) this.#backoff.reset();
    while (this.#life.ended) {
      await this.#backoff.wait(stop).catch(() => {});
      if (stop.aborted) return;
      try {
        this.#life = this.#live();
        for (const number of this.#gates.keys()) this.#openGate(number);
      } catch (err) {
        this.#log.error({ err }, "no other splicing thread can be started, trying again");
      }
    }
  }

  #openGate(number: number): void {
    const gate = this.#gates.get(number);
    if (!gate || this.#life.ended) return; // the next thread opens them all
    const { slot, door, limits } = gate;
    const descriptor = this.#linux.fcntl(gate.listener, F_DUPFD_CLOEXEC, 3);
    if (descriptor < 0) throw new Fault("overloaded", "no descriptors are left for this process");
    this.#life.shared.owned[descriptor] = OTHER;
    this.#life.post(["open", { number, slot, door, descriptor, limits }]);
  }

  #renewLimits(): void {
    for (const [number, gate] of this.#gates) {
      const limits = limitsOf(gate.settings);
      if (isDeepStrictEqual(limits, gate.limits)) continue;
      gate.limits = limits;
      this.#life.post(["limit", number, limits]);
    }
  }

  #hear(life: Life, report: Report): void {
    switch (report[0]) {
      case "ready":
        this.#ready();
        break;
      case "heard": {
        const [, number, descriptor, hello, came_at, arrived_at] = report;
        const gate = this.#gates.get(number);
        const line = life.line(descriptor);
        gate?.events.helloHeard(gate.door, arrived_at - came_at);
        try {
          if (!gate) throw new Fault("unreachable", "the door is closed");
          gate.admit(hello, { door: gate.door, line, arrived_at });
        } catch (reason) {
          gate?.events.turnedAway(gate.door, refusalOf(Fault.from(reason), !gate));
          line.hangUp();
        }
        break;
      }
      case "away": {
        const [, number, why, source] = report;
        const gate = this.#gates.get(number);
        gate?.events.turnedAway(gate.door, why, { source });
        break;
      }
      case "exhausted": {
        const now = performance.now();
        if (now - this.#exhausted_at < EXHAUSTED_AGAIN_MS) return;
        this.#exhausted_at = now;
        this.#log.warn("strangers are turned away: raise the limit of open files (LimitNOFILE)");
      }
    }
  }
}

function limitsOf(settings: DoorSettings): DoorLimits {
  const { rate_limits, hello_timeout_ms, strangers_max, strangers_per_source_max } = settings;
  return { rate_limits, hello_timeout_ms, strangers_max, strangers_per_source_max };
}
