/**
 * An application of "computer A" as a process of its own: a responder that answers with what it hears
 * and also listens at a port of its own, and a publisher that has news again and again. Started as
 * `node --import tsx` with the three ports of the proxies; prints its own port.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { CameoPeers, PUBLISHER, responderName } from "./cameo.ts";

const [responder = 0, , internal = 0] = process.argv.slice(2).map(Number);
const peers = new CameoPeers();
const own = peers.responder(responder, responderName("adder", 1));
await own.bind("tcp://0.0.0.0:*");
process.stdout.write(`${own.lastEndpoint?.split(":").at(-1)}\n`);
const news = peers.publisher(internal);
process.on("SIGTERM", () => process.exit());
for (;;) {
  await news.send([`${PUBLISHER}news:1`, '{"type":34}', "news"]);
  await sleep(20);
}
