/**
 * "Computer B" as a process of its own, in a network namespace of its own: it asks a responder and hears
 * a publisher through the two public ports of "computer A", tries what it must not reach, and prints one
 * line of JSON. Started as `node --import tsx`, with A's address, its three ports, and the port of an
 * application of A.
 */
import { readFileSync } from "node:fs";
import { connect } from "node:net";
import { CameoPeers, PUBLISHER, responderName } from "./cameo.ts";

const [host = "", ...numbers] = process.argv.slice(2);
const [responder = 0, publisher = 0, internal = 0, application = 0] = numbers.map(Number);
using peers = new CameoPeers(host);

const requester = peers.requester(responder);
await requester.sync(responderName("adder", 1));
const answer = String(await requester.ask(responderName("adder", 1), "from B"));
const news = peers.subscriber(publisher, `${PUBLISHER}news:1`);
const heard = String((await news.receive())[2]);

/** How a connection that says nothing ends within a moment, or that it stays. */
async function trial(port: number): Promise<string> {
  return await new Promise((resolve) => {
    const socket = connect({ host, port, timeout: 1_000 });
    socket.on("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? "error"));
    socket.on("close", () => resolve("closed")).on("end", () => resolve("closed"));
    socket.on("timeout", () => socket.destroy() && resolve("open"));
    socket.resume();
  });
}

/** Ports of A to which this namespace has connections, as the kernel tells it. */
function reached(): number[] {
  const rows = readFileSync("/proc/net/tcp", "utf8").trim().split("\n").slice(1);
  const ports = rows.map((row) =>
    Number.parseInt(row.trim().split(/\s+/)[2]?.split(":")[1] ?? "", 16),
  );
  return [...new Set(ports)].filter((port) => port > 0).sort((a, b) => a - b);
}

const sockets = reached();
const rogue = peers.responder(responder, "0:0", () => [["stolen"]]);
const trials = { internal: await trial(internal), application: await trial(application) };
peers.release(rogue);
process.stdout.write(`${JSON.stringify({ answer, heard, sockets, trials })}\n`);
