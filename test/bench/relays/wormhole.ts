import { randomBytes } from "node:crypto";
import type { Knock } from "../load/legs.ts";
import type { Contestant } from "./relay.ts";
import { freePorts, Server } from "./server.ts";

/** Lets both sides in as soon as they have shown the same token. */
const WELCOME = Buffer.from("ok\n").toString("base64");

export const wormhole: Contestant = {
  name: "magic-wormhole-transit-relay",
  what: "as shipped",
  program: { command: "twist3", version: ["--version"] },
  most: { idle: 2_000, setups: 1_000 },
  start: async ({ folder }) => {
    const [port = 0] = await freePorts(1);
    const listen = `--port=tcp:${port}:interface=127.0.0.1`;
    const server = await Server.start(["twist3", "transitrelay", listen], { folder, port });
    return {
      pids: [server.pid],
      prepare: async (circuits) => {
        const tokens = Array.from({ length: circuits }, () => randomBytes(32).toString("hex"));
        const knocks = (): Knock[] =>
          tokens.map((token) => {
            const hello = `please relay ${token} for side ${randomBytes(8).toString("hex")}\n`;
            return { hello: Buffer.from(hello).toString("base64"), welcome: WELCOME };
          });
        return { caller: { port, knocks: knocks() }, callee: { port, knocks: knocks() } };
      },
      [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
    };
  },
};
