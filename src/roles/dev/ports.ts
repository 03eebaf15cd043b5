import { randomInt } from "node:crypto";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { createServer } from "node:net";
import { Fault } from "../../core/fault.ts";

/**
 * Ports of this machine that nobody listens on now, and that no other call of this hands out while
 * this process lives. They lie below those that the kernel hands out by itself, since one of these may
 * be given to somebody else between our asking for it and a role's using it.
 */
export async function freePorts(count: number): Promise<number[]> {
  const ports = new Set<number>();
  for (let tried = 0; ports.size < count; tried += 1) {
    if (tried > count * 100) throw new Fault("unreachable", "this machine has no free ports left");
    const port = randomInt(FREE_FROM, FREE_TO);
    if (!ports.has(port) && (await isFree(port)) && (await reserve(port))) ports.add(port);
  }
  return [...ports];
}

const FREE_FROM = 15_000;
const FREE_TO = 32_000;

async function isFree(port: number): Promise<boolean> {
  const server = createServer();
  try {
    server.listen(port, "127.0.0.1");
    await once(server, "listening");
    return true;
  } catch {
    return false;
  } finally {
    server.close();
  }
}

/**
 * Takes the number for this process among those who do the same: a UDP socket holds it, which leaves
 * the TCP port to the role. A role that is not started yet, or restarts, holds nothing itself.
 */
async function reserve(port: number): Promise<boolean> {
  const mark = createSocket("udp4").unref();
  try {
    mark.bind({ port, address: "127.0.0.1", exclusive: true });
    await once(mark, "listening");
    return true;
  } catch {
    mark.close();
    return false;
  }
}
