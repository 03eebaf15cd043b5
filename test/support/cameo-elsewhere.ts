/**
 * "Computer B" as a process of its own, in a network namespace of its own, started as `node --import tsx`
 * with A's address and what it is to do. `trial` and ports: tries to reach each. `all`, A's three ports and
 * that of an application of A: asks all responders and hears all publishers through the two public ports, and
 * then tries what it must not reach. Prints one line of JSON.
 */
import { readFileSync } from "node:fs";
import { connect } from "node:net";
import { APPLICATIONS, CameoPeers, PUBLISHER, responderName } from "./cameo.ts";
import { until } from "./until.ts";

/** A state in /proc/net/tcp (proc(5)). */
const ESTABLISHED = "01";

const [host = "", what = "", ...numbers] = process.argv.slice(2);
const ports = numbers.map(Number);
const found = what === "trial" ? await tryAll(ports) : await everything(ports);
process.stdout.write(`${JSON.stringify(found)}\n`);

/** Once somebody listens at each. */
async function tryAll(ports: number[]): Promise<string[]> {
  let ways: string[] = [];
  await until(async () => {
    ways = await Promise.all(ports.map(trial));
    return !ways.includes("ECONNREFUSED");
  }, "all ports are listened at");
  return ways;
}

async function everything([responder = 0, publisher = 0, ...forbidden]: number[]) {
  using peers = new CameoPeers(host);
  const numbers = [...Array(APPLICATIONS).keys()];
  const asked = numbers.map(async (n) => {
    const requester = peers.requester(responder);
    const names = ["adder", "echo"].map((name) => responderName(name, n));
    for (const name of names) {
      await requester.sync(name);
      if (String(await requester.ask(name, `for ${name}`)) !== `for ${name}`) return 0;
    }
    return names.length;
  });
  const answers = (await Promise.all(asked)).reduce((sum, each) => sum + each, 0);
  const news = peers.subscriber(publisher, PUBLISHER);
  const heard = new Set<string>();
  for await (const [topic] of news) if (heard.add(String(topic)).size === APPLICATIONS) break;
  const sockets = reached();
  return { answers, heard: heard.size, sockets, trials: await Promise.all(forbidden.map(trial)) };
}

/** How a connection that says nothing ends within a moment, or that it stays. */
async function trial(port: number): Promise<string> {
  return await new Promise((resolve) => {
    const socket = connect({ host, port, timeout: 1_000 });
    socket.on("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? "error"));
    socket.on("close", () => resolve("closed")).on("end", () => resolve("closed"));
    socket.on("timeout", () => socket.destroy() && resolve("open"));
    socket.on("data", () => resolve("open")).on("data", () => socket.destroy());
  });
}

/** Ports of A to which this namespace has connections, as the kernel tells it. */
function reached(): number[] {
  const rows = readFileSync("/proc/net/tcp", "utf8").trim().split("\n").slice(1);
  const ports = rows
    .map((row) => row.trim().split(/\s+/))
    .filter(([, , , state]) => state === ESTABLISHED)
    .map(([, , remote = ""]) => Number.parseInt(remote.split(":")[1] ?? "", 16));
  return [...new Set(ports)].sort((a, b) => a - b);
}
