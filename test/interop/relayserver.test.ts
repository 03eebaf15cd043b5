import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { afterEach, expect, it } from "vitest";
import { poolAgent } from "../../src/relay/agent/agent.ts";
import { echo } from "../../src/relay/agent/targets.ts";
import type { Engine } from "../../src/relay/engine.ts";
import { engines } from "../support/engines.ts";
import { PoolBed } from "../support/pool-bed.ts";
import { describeWithPython, PYTHON } from "../support/tools.ts";
import { until } from "../support/until.ts";
import { dialFreely, Ear, say } from "../support/wires.ts";

type Peer = { child: ChildProcess; told: string[] };

describeWithPython(
  ["twisted", "google.protobuf"],
  "RelayServer on Twisted and Google's protobuf",
  () => {
    const running: ChildProcess[] = [];
    const kill = async (child: ChildProcess): Promise<void> => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill("SIGKILL");
      await once(child, "exit");
    };
    afterEach(async () => {
      for (const child of running.splice(0)) await kill(child);
    });
    const start = (...argv: Array<string | number>): Peer => {
      const script = "test/interop/original/relayserver.py";
      const child = spawn(PYTHON, [script, ...argv.map(String)], {
        stdio: ["ignore", "pipe", "inherit"],
      });
      running.push(child);
      const told: string[] = [];
      createInterface({ input: child.stdout }).on("line", (line) => told.push(line));
      return { child, told };
    };
    const count = ({ told }: Peer, word: string): number =>
      told.filter((line) => line.startsWith(word)).length;
    /** Says something, and comes back once it was said again. */
    const echoed = async (port: number, words: string): Promise<void> => {
      const socket = await dialFreely(port);
      const ear = new Ear(socket);
      await say(socket, words);
      expect(`${await ear.hears(words.length)}`).toBe(words);
      socket.end();
      await ear.hearsTheEnd();
      socket.destroy();
    };

    it("waits at our relay as a host process, again and again", async () => {
      const engine = (await engines.at(-1)?.open()) as Engine;
      const bed = await PoolBed.open(engine);
      const { data = 0, command = 0, client = 0 } = bed.relay.ports;
      const host = start("host", data, command, 10);
      await until(
        () => bed.relay.count.listeners === 1 && bed.relay.count.offers === 10,
        "10 wait",
      );
      await until(() => count(host, "waiting") === 10, "they know");
      expect(host.told.filter((line) => /^waiting/.test(line)).sort()[0]).toBe(
        `waiting 0 127.0.0.1 ${client}`,
      );
      const clients = Array.from({ length: 10 }, async (_, i) => {
        const socket = await dialFreely(client);
        const ear = new Ear(socket);
        await say(socket, `client ${i}`);
        await ear.hears(8);
        return { socket, ear };
      });
      const ten = await Promise.all(clients);
      const eleventh = new Ear(await dialFreely(client));
      expect(await eleventh.hearsTheEnd()).toBe("end");
      for (const { socket } of ten) socket.end();
      await until(() => count(host, "drop") === 10, "ten drops are announced");
      expect(host.told.filter((line) => /^open/.test(line))).toEqual(
        Array.from({ length: 10 }, (_, i) => `open ${i}`),
      );
      await until(() => bed.relay.count.offers === 10, "they wait again");
      await echoed(client, "once more");
      await kill(host.child);
      await bed.counts(0, 0, 0);
      start("host", data, command, 1);
      await bed.counts(1, 0, 0);
      await until(() => bed.relay.count.listeners === 1, "it listens");
      await echoed(client, "and again");
      await bed[Symbol.asyncDispose]();
      await engine[Symbol.asyncDispose]();
    });

    it("is waited at by our agent, which survives that it is killed", async () => {
      const first = start("relay");
      await until(() => count(first, "ports") === 1, "it listens");
      const [data, command, client = 0] = portsOf(first);
      const troubles: string[] = [];
      await using agent = poolAgent({
        relay: `127.0.0.1:${data}`,
        commands: `127.0.0.1:${command}`,
        size: 5,
        handler: echo(),
        events: { troubled: (problem) => troubles.push(problem) },
      });
      await until(() => agent.count.waiting === 5, "its connections wait");
      expect(
        first.told.filter((line) => /^hello/.test(line)).every((line) => / 1$/.test(line)),
      ).toBe(true);
      for (let i = 0; i < 20; i += 1) {
        await until(() => agent.count.waiting > 0, "one waits");
        await echoed(client, `client ${i}`);
      }
      await kill(first.child);
      await until(() => agent.count.waiting === 0, "it has noticed");
      expect(troubles.length).toBeGreaterThan(0);
    });
  },
);

function portsOf({ told }: Peer): number[] {
  return (told.find((line) => line.startsWith("ports")) ?? "").split(" ").slice(1).map(Number);
}
