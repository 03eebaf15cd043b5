import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { createServer as createSecureServer } from "node:https";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { connect } from "node:tls";
import { afterAll, beforeAll, expect, it } from "vitest";
import { PASSTHROUGH_ROLES } from "../../src/roles/dev/passthrough.ts";
import type { Town } from "../../src/roles/dev/town.ts";
import { DOMAIN, foundPassthrough, type Passthrough } from "../support/passthrough.ts";
import { describeWith } from "../support/tools.ts";
import { eventually, GATEWAY } from "../support/town.ts";

describeWith(["curl"], "a server inside, behind a private and a public proxy", () => {
  let passthrough: Passthrough;
  let town: Town;
  const curl = (...more: string[]): Promise<string> => passthrough.curl(...more);

  beforeAll(async () => {
    const inside = createServer(async (request, reply) => {
      const { method, url } = request;
      reply.setHeader("content-type", "application/json");
      reply.end(JSON.stringify({ method, url, body: await text(request) }));
    });
    passthrough = await foundPassthrough(inside);
    town = passthrough.town;
  });
  afterAll(() => passthrough?.[Symbol.asyncDispose]());

  it("is reached by curl under the name it was announced with", async () => {
    await passthrough.announced();
    expect(JSON.parse(await curl())).toEqual({ method: "GET", url: "/jsonrpc?x=1", body: "" });
  });

  it("gets bodies whole, many at a time", async () => {
    const bodies = Array.from({ length: 20 }, (_, n) => `${n}`.repeat(1 + n * 500));
    const answers = await Promise.all(bodies.map((body) => curl("--data-binary", body)));
    for (const [index, answer] of answers.entries()) {
      expect(JSON.parse(answer)).toMatchObject({ method: "POST", body: bodies[index] });
    }
  });

  it("is told apart from names that nobody announced, by a TLS alert", async () => {
    const socket = connect({
      host: "127.0.0.1",
      port: town.port(4433),
      servername: "nobody.internal-server.local",
    });
    const [reason] = await once(socket, "error");
    expect(reason.message).toMatch(/unrecognized name/i);
  });

  it("is listed by the private proxy", async () => {
    const listed = { domain: DOMAIN, expires_at: null };
    const privately = await town.call(
      { role: "hd-1", port: GATEWAY["hd-1"] },
      { method: "private-proxy-1.ga.getAnnouncements" },
    );
    expect(privately).toEqual({ result: [{ ...listed, proxy: "public-proxy-1.ga" }] });
  });

  it("may end TLS itself, and then the bytes pass untouched", async () => {
    const [cert, key] = await Promise.all(
      ["crt", "key"].map((end) => readFile(join(town.certs, `internal-server.${end}`))),
    );
    const secure = createSecureServer({ cert, key }, (_, reply) => reply.end("end to end"));
    secure.listen(0, "127.0.0.1");
    await once(secure, "listening");
    const { port } = secure.address() as { port: number };
    const untouched = (text: string): string =>
      text
        .replace(/^ {4}tls:\n( {6}.*\n)+/m, "")
        .replace(/address: "localhost:\d+"/, `address: "localhost:${port}"`);
    try {
      await passthrough.withSettings("private-proxy-1", untouched, async () => {
        expect(await eventually(5_000, () => curl())).toBe("end to end");
        await town.said("private-proxy-1", "done", ({ door }) => door === "announced");
      });
    } finally {
      secure.closeAllConnections();
      secure.close();
    }
  });

  it("may be a JSON-RPC service, whose callers get their own ids back", async () => {
    const service = createServer(async (request, reply) => {
      const { method, params, id } = JSON.parse(await text(request));
      reply.end(JSON.stringify({ jsonrpc: "2.0", result: { method, params, id }, id }));
    });
    service.listen(0, "127.0.0.1");
    await once(service, "listening");
    const { port } = service.address() as { port: number };
    const client = `    jsonrpc_client:\n      endpoint: "http://localhost:${port}/jsonrpc"\n`;
    const jsonrpc = (text: string): string =>
      text.replace(/^ {2}internal_endpoint:\n/m, `$&${client}`);
    try {
      await passthrough.withSettings("private-proxy-1", jsonrpc, async () => {
        const call = JSON.stringify({ jsonrpc: "2.0", method: "add", params: { a: 1 }, id: 5 });
        const type = ["--header", "Content-Type: application/json"];
        const answer = await eventually(5_000, () => curl(...type, "--data", call));
        expect(JSON.parse(answer)).toEqual({
          jsonrpc: "2.0",
          result: { method: "add", params: { a: 1 }, id: "n:5" },
          id: 5,
        });
      });
    } finally {
      service.closeAllConnections();
      service.close();
    }
  });

  it.each(PASSTHROUGH_ROLES)("is reached again within 5 s of a crash of %s", async (role) => {
    await town.stop(role, "SIGKILL");
    await town.start(role);
    await eventually(5_000, async () => expect(JSON.parse(await curl())).toHaveProperty("url"));
  });

  it("leaves a record of each circuit at the public proxy", async () => {
    const record = await town.said(
      "public-proxy-1",
      "done with a circuit",
      ({ msg, door }) => msg === "circuit ended" && door === "sni",
    );
    expect(record).toMatchObject({ caller: DOMAIN, callee: "private-proxy-1.ga" });
    expect(record["bytes_from_caller"]).toBeGreaterThan(500);
  });
});
