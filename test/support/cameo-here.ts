/**
 * Fifty applications of "computer A" as a process of their own: each has two responders that answer with what
 * they hear and a publisher that has news again and again, and all listen at ports of their own as well.
 * Started as `node --import tsx` with the three ports of the proxies; prints the port of one of them.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { APPLICATIONS, CameoPeers, PUBLISHER, responderName } from "./cameo.ts";

const [responder = 0, , internal = 0] = process.argv.slice(2).map(Number);
const peers = new CameoPeers();
const everywhere = "tcp://0.0.0.0:*";
const all = await Promise.all(
  Array.from({ length: APPLICATIONS }, async (_, n) => {
    const responders = ["adder", "echo"].map((name) =>
      peers.responder(responder, responderName(name, n)),
    );
    const news = peers.publisher(internal);
    for (const socket of [...responders, news]) await socket.bind(everywhere);
    return { topic: `${PUBLISHER}news:${n}`, news, port: news.lastEndpoint?.split(":").at(-1) };
  }),
);
process.stdout.write(`${all[0]?.port}\n`);
process.on("SIGTERM", () => process.exit());
for (;;) {
  for (const { topic, news } of all) await news.send([topic, '{"type":34}', "news"]);
  await sleep(20);
}
