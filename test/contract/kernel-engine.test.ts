import { spawn } from "node:child_process";
import { once } from "node:events";
import type { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import type { Worker } from "node:worker_threads";
import { afterEach, describe, expect, it } from "vitest";
import type { Log } from "../../src/core/log.ts";
import { openKernelEngine, startWorker } from "../../src/relay/kernel/engine.ts";
import { openEngine } from "../../src/relay/open-engine.ts";
import { Entrance } from "../support/engines.ts";
import type { Held } from "../support/relay-process.ts";
import { Listening, recite } from "../support/speech.ts";
import { MIB, NO_LIMIT } from "../support/splice-matrix.ts";
import { until } from "../support/until.ts";
import { dialFreely, Ear, openDescriptors, Wires } from "../support/wires.ts";

type Told = { level: string; message: string } & Record<string, unknown>;

describe("the kernel engine", () => {
  const cleanup: Array<() => unknown> = [];
  const threads: Worker[] = [];
  const told: Told[] = [];
  const keep = (level: string) => (fields: object, message?: string) =>
    void told.push(
      typeof fields === "string"
        ? { level, message: fields }
        : { ...fields, level, message: message ?? "" },
    );
  const log = Object.fromEntries(
    ["debug", "info", "warn", "error"].map((level) => [level, keep(level)]),
  ) as unknown as Log;

  afterEach(async () => {
    for (const each of cleanup.splice(0).reverse()) await each();
    threads.length = told.length = 0;
  });

  async function open(start: (workerData: unknown) => Worker = startWorker) {
    const engine = await openKernelEngine({
      log,
      start: (workerData) => {
        const thread = start(workerData);
        threads.push(thread);
        return thread;
      },
    });
    cleanup.push(() => engine[Symbol.asyncDispose]());
    return engine;
  }

  function use(socket: Socket): Socket {
    cleanup.push(() => socket.destroy());
    return socket;
  }

  it("tells every circuit of a thread that dies as broken, closes what it held, and goes on with another", async () => {
    const engine = await open();
    const entrance = await Entrance.open(engine);
    cleanup.push(() => entrance[Symbol.asyncDispose]());
    const before = openDescriptors();
    const come = async () => {
      const { outside, leg } = await entrance.enter();
      return { socket: use(outside), line: leg.line };
    };
    const [caller, callee, waiting] = [await come(), await come(), await come()];
    const stranger = use(await dialFreely(entrance.port));
    const spliced = engine.splice({ caller: caller.line, callee: callee.line }, NO_LIMIT);
    const ears = [caller, callee, waiting].map(({ socket }) => new Ear(socket));
    const strangersEar = new Ear(stranger);
    // Bytes are under way in a pipe when it happens.
    void recite(caller.socket, 64 * MIB);
    callee.socket.pause();
    await until(() => spliced.bytes.caller > MIB, "bytes are under way");

    await threads[0]?.terminate();
    expect(await spliced.over).toMatchObject({ ending: "broken", by: "us" });
    callee.socket.resume();
    for (const ear of [...ears, strangersEar]) await ear.hearsTheEnd();
    expect(ears[0]?.ending).toMatch(/ECONNRESET|EPIPE/);
    await until(() => threads.length === 2, "another thread is started");
    expect(told.filter(({ level }) => level === "error")).toHaveLength(1);

    // A leg from before is lost, which its partner is told.
    const late = await come();
    const lateEar = new Ear(late.socket);
    const half = engine.splice({ caller: waiting.line, callee: late.line }, NO_LIMIT);
    expect(await half.over).toMatchObject({ ending: "broken", by: "us" });
    await lateEar.hearsTheEnd();
    waiting.line.hangUp(); // whoever still has it may say so

    const [again, other] = [await come(), await come()];
    const anew = engine.splice({ caller: again.line, callee: other.line }, NO_LIMIT);
    const listening = new Listening(other.socket);
    await recite(again.socket, MIB);
    again.socket.end();
    other.socket.end();
    expect(await listening.hearsTheEnd()).toBe("end");
    expect(listening).toMatchObject({ size: MIB, wrong_at: undefined });
    again.socket.resume();
    expect(await anew.over).toMatchObject({ ending: "done" });
    for (const each of [caller, callee, waiting, late, again, other]) each.socket.destroy();
    stranger.destroy();
    await until(
      () => openDescriptors() === before,
      () => `${before} descriptors are left (there are ${openDescriptors()})`,
    );
  });

  it("takes over nothing while no thread lives, and starts one as soon as that can be done", async () => {
    let refusals = 0;
    const engine = await open((workerData) => {
      if (threads.length === 1 && refusals++ < 2) throw new Error("no room for a thread");
      return startWorker(workerData);
    });
    const before = openDescriptors();
    await threads[0]?.terminate();
    await using wires = await Wires.open();
    const { accepted, dialled } = await wires.connect();
    const ear = new Ear(dialled);
    const adopting = engine.adopt(accepted, new AbortController().signal);
    await expect(adopting).rejects.toMatchObject({ fault: "unreachable" });
    await ear.hearsTheEnd();
    const door = await Entrance.open(engine);
    await until(() => refusals === 3 && threads.length === 2, "a thread is started");
    const { outside, leg } = await door.enter();
    use(outside);
    leg.line.hangUp();
    await new Ear(outside).hearsTheEnd();
    await door[Symbol.asyncDispose]();
    outside.destroy();
    await wires[Symbol.asyncDispose]();
    await until(
      () => openDescriptors() === before,
      () => `${before} descriptors are left (there are ${openDescriptors()})`,
    );
  });

  it("starts no more threads when it is stopped", async () => {
    const engine = await openKernelEngine({
      log,
      start: (workerData) => {
        const thread = startWorker(workerData);
        threads.push(thread);
        return thread;
      },
    });
    const before = openDescriptors() ?? 0;
    await engine[Symbol.asyncDispose]();
    expect(threads).toHaveLength(1);
    expect(told).toEqual([]);
    await until(() => (openDescriptors() ?? 0) < before, "the thread's descriptors are closed");
  });

  it("takes new limits for those who come from then on", async () => {
    const limits = { strangers_max: 1 };
    const entrance = await Entrance.open(await open(), {
      get strangers_max() {
        return limits.strangers_max;
      },
    });
    cleanup.push(() => entrance[Symbol.asyncDispose]());
    use(await dialFreely(entrance.port));
    await new Ear(use(await dialFreely(entrance.port))).hearsTheEnd();
    limits.strangers_max = 100;
    await until(async () => {
      const ear = new Ear(use(await dialFreely(entrance.port)));
      await sleep(50);
      return ear.ending === undefined;
    }, "a second stranger may stay");
  });

  it("turns strangers away before no descriptors are left for the program itself", async () => {
    const relay = new URL("../support/relay-process.ts", import.meta.url).pathname;
    const child = spawn(
      "sh",
      ["-c", `ulimit -n 96 && exec "$0" --import tsx "$1" kernel`, process.execPath, relay],
      { stdio: ["ignore", "ignore", "inherit", "ipc"] },
    );
    cleanup.push(() => child.kill("SIGKILL"));
    const [port] = (await once(child, "message")) as [number];
    const held = async (): Promise<Held> => {
      child.send("?");
      return (await once(child, "message"))[0];
    };
    const crowd = await Promise.all(
      Array.from({ length: 120 }, async () => use(await dialFreely(port)).resume()),
    );
    const staying = () => crowd.filter(({ closed, readableEnded }) => !closed && !readableEnded);
    await until(
      async () => (await held()).strangers === staying().length,
      "the rest is turned away",
    );
    const { length: inside } = staying();
    expect(inside).toBeGreaterThan(10);
    expect(inside).toBeLessThan(84);

    for (const socket of staying()) socket.destroy();
    await until(async () => (await held()).strangers === 0, "there is room again");
    for (const socket of [await dialFreely(port), await dialFreely(port)]) {
      use(socket).write(Buffer.alloc(32, "t"));
    }
    await until(async () => (await held()).circuits === 1, "the next two meet");
  });

  it("gives way to the other engine where it does not work, if it may", async () => {
    const start = () => {
      throw new Error("no thread can be started");
    };
    const engine = await openEngine("auto", { log, start });
    expect(engine.name).toBe("stream");
    expect(told).toEqual([
      expect.objectContaining({ level: "info", reason: expect.stringContaining("no thread") }),
    ]);
    await expect(openEngine("kernel", { log, start })).rejects.toMatchObject({
      fault: "settings",
      message: expect.stringContaining("choose auto"),
    });
    expect((await openEngine("stream", { log })).name).toBe("stream");
  });
});
