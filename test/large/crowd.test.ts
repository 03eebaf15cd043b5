import { fork } from "node:child_process";
import { once } from "node:events";
import type { Socket } from "node:net";
import { fileURLToPath } from "node:url";
import { afterEach, describe, expect, it } from "vitest";
import type { Held } from "../support/relay-process.ts";
import { dialFreely } from "../support/wires.ts";

const KIB = 1024;
const RELAY = fileURLToPath(new URL("../support/relay-process.ts", import.meta.url));
const TOKEN = Buffer.alloc(32, "t");
/** Two descriptors for each circuit at the relay, and as many here, in what a process may have. */
const CONNECTIONS = 16_000;
/** So much lets a relay grow to its working size before it is weighed. */
const WARM_UP = 800;

describe.runIf(process.platform === "linux")("a crowd at the kernel engine", () => {
  const sockets: Socket[] = [];
  afterEach(() => {
    for (const socket of sockets.splice(0)) socket.destroy();
  });

  async function open() {
    const child = fork(RELAY, ["kernel"], { execArgv: ["--expose-gc", "--import", "tsx"] });
    const [port] = (await once(child, "message")) as [number];
    const held = async (): Promise<Held> => {
      child.send("?");
      return (await once(child, "message"))[0];
    };
    const come = async (count: number, says?: Buffer): Promise<void> => {
      for (let came = 0; came < count; came += 1) {
        const socket = await dialFreely(port, `127.0.${1 + (came % 8)}.1`);
        sockets.push(socket);
        if (says) socket.resume().write(says);
      }
    };
    await come(WARM_UP, TOKEN);
    for (const socket of sockets.splice(0)) socket.destroy();
    const empty = async (): Promise<Held> => {
      for (;;) {
        const now = await held();
        if (now.circuits === 0 && now.strangers === 0) return now;
      }
    };
    return { child, held, come, before: await empty() };
  }

  it("costs at most 4 KiB for each that has said nothing or only half of its hello", async () => {
    const { child, held, come, before } = await open();
    await come(CONNECTIONS / 2);
    await come(CONNECTIONS / 2, TOKEN.subarray(0, 16));
    let now = await held();
    while (now.strangers < CONNECTIONS) now = await held();
    expect((now.rss - before.rss) / CONNECTIONS).toBeLessThanOrEqual(4 * KIB);

    // And a pair that knows what it wants gets through.
    await come(2, Buffer.concat([TOKEN, Buffer.from("ping")]));
    while ((await held()).circuits === 0);
    child.kill();
  });

  it("costs at most 8 KiB for each circuit that is idle", async () => {
    const { child, held, come, before } = await open();
    await come(CONNECTIONS, TOKEN);
    let now = await held();
    while (now.circuits < CONNECTIONS / 2) now = await held();
    expect((now.rss - before.rss) / (CONNECTIONS / 2)).toBeLessThanOrEqual(8 * KIB);
    child.kill();
  });
});
