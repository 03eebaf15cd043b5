import { once } from "node:events";
import { readFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { createServer, type IncomingMessage } from "node:http";
import { Agent, request } from "node:https";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { Town } from "../../src/roles/dev/town.ts";
import type { Answer } from "../../src/wire/answer.ts";
import { DOMAIN, foundPassthrough, type Passthrough } from "../support/passthrough.ts";
import { eventually } from "../support/town.ts";

const YESTERDAY = new Date(Date.now() - 86_400_000).toISOString();

describe("an announced domain", () => {
  let passthrough: Passthrough;
  let town: Town;
  let ca: Buffer;

  beforeAll(async () => {
    const inside = createServer((asked, reply) => {
      // A teapot that echoes, byte by byte.
      reply.writeHead(418, { "content-type": "text/plain" });
      reply.flushHeaders();
      asked.pipe(reply);
    });
    passthrough = await foundPassthrough(inside);
    town = passthrough.town;
    ca = readFileSync(join(town.certs, "root.crt"));
  });
  afterAll(() => passthrough?.[Symbol.asyncDispose]());
  beforeEach(() => passthrough.announced());

  const open = (agent: Agent | false = false) =>
    request({
      host: "127.0.0.1",
      port: town.port(4433),
      servername: DOMAIN,
      headers: { host: DOMAIN },
      method: "POST",
      agent,
      ca,
    });
  const reached = async (): Promise<string> => {
    const asking = open().end("hello");
    const [reply] = (await once(asking, "response")) as [IncomingMessage];
    return `${reply.statusCode} ${await text(reply)}`;
  };
  const isReached = () => eventually(10_000, async () => expect(await reached()).toBe("418 hello"));
  const ends = (alert: RegExp) =>
    eventually(10_000, async () => await expect(reached()).rejects.toThrow(alert));

  /** What an operator says to the public proxy, as the endpoint beside that proxy passes it on. */
  const announcedBy = (name: string, expires_at: string | null): Promise<Answer> => {
    const settings = [
      { service: "proxy", settings: { allowed_domains: [".internal-server.local"] } },
    ];
    const _client = { name, entry: { name, channels: [], settings } };
    return town.call(
      { role: "public-proxy-1.ga", port: 6655 },
      {
        method: "announceConnections",
        params: { connections: [{ domain: DOMAIN, expires_at }], _client },
      },
    );
  };
  const TAKEN = { code: 409, message: "already taken" };
  const forget = (role: string) =>
    rm(join(town.folder, "settings", "data", `${role}.log`), { recursive: true });

  it("is streamed to, both ways, over a connection that is kept, with the status as it was", async () => {
    const agent = new Agent({ keepAlive: true });
    try {
      const asking = open(agent);
      asking.write("first");
      const [reply] = (await once(asking, "response")) as [IncomingMessage];
      expect(String((await once(reply, "data"))[0])).toBe("first");
      asking.end("second");
      expect(await text(reply)).toBe("second");

      const again = open(agent);
      again.end("third");
      const [other] = (await once(again, "response")) as [IncomingMessage];
      expect([other.statusCode, other.statusMessage]).toEqual([418, "I'm a Teapot"]);
      expect(await text(other)).toBe("third");
      expect(again.reusedSocket).toBe(true);
    } finally {
      agent.destroy();
    }
  });

  it("is nobody's when its operator takes it back, and its operator's again", async () => {
    await isReached();
    expect(await passthrough.announce(DOMAIN, YESTERDAY)).toEqual({ result: "ok" });
    await ends(/unrecognized name/i);
    await passthrough.announced();
    await isReached();
  });

  it("is kept from others until it has expired, and then free for them", async () => {
    expect(await announcedBy("another", null)).toEqual({ result: [TAKEN] });
    const soon = new Date(Date.now() + 5_000).toISOString();
    expect(await passthrough.announce(DOMAIN, soon)).toEqual({ result: "ok" });
    expect(await announcedBy("another", null)).toEqual({ result: [TAKEN] });
    await ends(/unrecognized name/i);
    expect(await announcedBy("another", null)).toEqual({ result: [null] });
    expect(await passthrough.announce(DOMAIN)).toMatchObject({
      error: { code: 409, message: `public-proxy-1.ga: already taken (${DOMAIN})` },
    });
    expect(await announcedBy("another", YESTERDAY)).toEqual({ result: [null] });
  });

  it("must be one that its operator may use, compared label by label, and the error says so", async () => {
    const domain = "evil-internal-server.local";
    expect(await passthrough.announce(domain)).toMatchObject({
      error: {
        code: 403,
        message: "not allowed to forward this domain",
        data: {
          allowed_domains: [".internal-server.local"],
          reason: expect.stringMatching(
            /none of these covers evil-internal-server.local: .* neither covers evil-example.com/,
          ),
        },
      },
    });
  });

  it("is known to a public proxy that was restarted, before anybody announces it again", async () => {
    await town.stop("private-proxy-1");
    await town.stop("public-proxy-1");
    await town.start("public-proxy-1");
    expect(await announcedBy("another", null)).toEqual({ result: [TAKEN] });
    await town.start("private-proxy-1");
    await isReached();
  });

  it("is announced again to a public proxy that has forgotten everything", async () => {
    const often = (text: string): string => text.replace(/^private:\n/m, "$&  announce_again: 1\n");
    await passthrough.withSettings("private-proxy-1", often, async () => {
      await town.stop("public-proxy-1");
      await forget("public-proxy-1");
      await town.start("public-proxy-1");
      await isReached();
    });
  });

  it("is announced again by a private proxy that starts", async () => {
    await town.stop("private-proxy-1");
    await town.stop("public-proxy-1");
    await forget("public-proxy-1");
    await town.start("public-proxy-1");
    await ends(/unrecognized name/i);
    await town.start("private-proxy-1");
    await isReached();
  });

  it("must be announced again when the private proxy has forgotten everything", async () => {
    await town.stop("private-proxy-1");
    await forget("private-proxy-1");
    await town.start("private-proxy-1");
    await ends(/internal error/i);
    await passthrough.announced();
    await isReached();
  });
});
