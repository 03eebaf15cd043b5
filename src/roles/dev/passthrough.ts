import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import { request } from "node:https";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { Fault } from "../../core/fault.ts";
import { Scope } from "../../core/scope.ts";
import { GATEWAY, startTown, story } from "./demo.ts";
import { heading, say, step } from "./steps.ts";
import type { Town } from "./town.ts";

export const PASSTHROUGH_ROLES = [
  "sd-1",
  "public-proxy-1",
  "public-proxy-eps-1",
  "private-proxy-eps-1",
  "private-proxy-1",
  "hd-1",
];
const DOMAIN = "test.internal-server.local";
/** The ports of the public proxy's TLS door and of the internal server in their settings. */
const TLS_DOOR = 4433;
const INTERNAL = 7777;

/** Shows TLS passthrough: an HTTPS client reaches a server inside, by the name it asks for. */
export async function demoPassthrough(settings: string, signal: AbortSignal): Promise<void> {
  await using scope = new Scope(signal);
  const town = await startTown(settings, PASSTHROUGH_ROLES, { keep: false, scope });
  const inside = await serveInside(town.port(INTERNAL));
  scope.defer(() => inside.closeAllConnections());
  scope.defer(() => inside.close());
  await step("the private proxy's endpoint is connected", () =>
    town.said("public-proxy-eps-1", "connected with the private proxy", ({ msg, operator }) => {
      return msg === "reverse stream accepted" && operator === "private-proxy-1.ga";
    }),
  ).catch(() => {});
  await step(`${DOMAIN} is announced`, () => announce(town));
  const answer = await step("an HTTPS client reached the server inside", () => fetchInside(town));
  heading("The answer of the server inside");
  say(answer);
  const ended = await town.said("public-proxy-1", "done with the circuit", (line) => {
    return line.msg === "circuit ended" && line["door"] === "sni";
  });
  heading("The circuit, as the public proxy tells it");
  say(story(ended));
  say();
  await step("everything stopped", () => scope[Symbol.asyncDispose]());
}

async function serveInside(port: number): Promise<Server> {
  const server = createServer(async (incoming, reply) => {
    const asked = await text(incoming);
    reply.setHeader("content-type", "application/json");
    reply.end(JSON.stringify({ hello: "from inside", path: incoming.url, asked }, null, 2));
  });
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
  return server;
}

async function announce(town: Town): Promise<void> {
  const answer = await town.call(
    { role: "hd-1", port: GATEWAY },
    {
      method: "private-proxy-1.ga.announceConnection",
      params: { domain: DOMAIN, proxy: "public-proxy-1.ga", expires_at: null },
    },
  );
  if ("error" in answer) throw new Fault("failed", answer.error.message);
}

/** What curl does with `--resolve`: dials the proxy, and asks for the domain by TLS. */
async function fetchInside(town: Town): Promise<string> {
  const asking = request({
    host: "127.0.0.1",
    port: town.port(TLS_DOOR),
    servername: DOMAIN,
    headers: { host: DOMAIN },
    path: "/jsonrpc",
    ca: await readFile(join(town.certs, "root.crt")),
    agent: false,
  });
  asking.end();
  const [reply] = await once(asking, "response");
  return await text(reply);
}
