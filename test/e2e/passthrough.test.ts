import { execFile } from "node:child_process";
import { once } from "node:events";
import { readFile, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import { createServer as createSecureServer } from "node:https";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { connect } from "node:tls";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, it } from "vitest";
import { PASSTHROUGH_ROLES } from "../../src/roles/dev/passthrough.ts";
import type { Town } from "../../src/roles/dev/town.ts";
import type { Answer } from "../../src/wire/answer.ts";
import { describeWith } from "../support/tools.ts";
import { eventually, foundTown, GATEWAY, settingsWithCertificates } from "../support/town.ts";

const DOMAIN = "test.internal-server.local";

describeWith(["curl"], "a server inside, behind a private and a public proxy", () => {
  let settings: Awaited<ReturnType<typeof settingsWithCertificates>>;
  let town: Town;
  let inside: Server;

  beforeAll(async () => {
    settings = await settingsWithCertificates();
    town = await foundTown(settings.folder);
    await Promise.all(PASSTHROUGH_ROLES.map((role) => town.start(role)));
    await town.setUp();
    inside = createServer(async (request, reply) => {
      reply.setHeader("content-type", "application/json");
      reply.end(
        JSON.stringify({ method: request.method, url: request.url, body: await text(request) }),
      );
    });
    inside.listen(town.port(7777), "127.0.0.1");
    await once(inside, "listening");
  });
  afterAll(async () => {
    inside.closeAllConnections();
    inside.close();
    await town[Symbol.asyncDispose]();
    await settings[Symbol.asyncDispose]();
  });

  const announce = (domain: string, proxy = "public-proxy-1.ga"): Promise<Answer> =>
    town.call(
      { role: "hd-1", port: GATEWAY["hd-1"] },
      {
        method: "private-proxy-1.ga.announceConnection",
        params: { domain, proxy, expires_at: null },
      },
    );
  const announced = (): Promise<void> =>
    eventually(10_000, async () => expect(await announce(DOMAIN)).toEqual({ result: "ok" }));
  const curl = async (...more: string[]): Promise<string> => {
    const port = town.port(4433);
    const url = `https://${DOMAIN}:${port}/jsonrpc?x=1`;
    const resolve = `${DOMAIN}:${port}:127.0.0.1`;
    const known = ["--silent", "--show-error", "--max-time", "10"];
    const args = [...known, "--cacert", join(town.certs, "root.crt"), "--resolve", resolve, url];
    return (await promisify(execFile)("curl", [...args, ...more])).stdout;
  };

  it("is reached by curl under the name it was announced with", async () => {
    await announced();
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

  it("is not announced under a name that its operator may not use", async () => {
    expect(await announce("evil-internal-server.local")).toMatchObject({
      error: { code: 403, message: "not allowed to forward this domain" },
    });
  });

  it("is listed by both proxies", async () => {
    const listed = { domain: DOMAIN, expires_at: null };
    const privately = await town.call(
      { role: "hd-1", port: GATEWAY["hd-1"] },
      { method: "private-proxy-1.ga.getAnnouncements" },
    );
    expect(privately).toEqual({ result: [{ ...listed, proxy: "public-proxy-1.ga" }] });
  });

  /** Runs the private proxy with other settings for as long as the work takes. */
  async function withPrivateProxy(
    change: (text: string) => string,
    work: () => Promise<void>,
  ): Promise<void> {
    const file = join(town.settings("private-proxy-1"), "001_default.yml");
    const before = await readFile(file, "utf8");
    expect(change(before), "the change must change something").not.toBe(before);
    const restart = async (text: string): Promise<void> => {
      await town.stop("private-proxy-1");
      await writeFile(file, text);
      await town.start("private-proxy-1");
    };
    await restart(change(before));
    await work().finally(() => restart(before));
  }

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
      await withPrivateProxy(untouched, async () => {
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
      await withPrivateProxy(jsonrpc, async () => {
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
