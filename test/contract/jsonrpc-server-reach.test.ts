import { once } from "node:events";
import { connect as connectHttp2 } from "node:http2";
import { connect as connectTls } from "node:tls";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { readTls } from "../../src/net/tls.ts";
import { Authority } from "../support/certificates.ts";
import { send } from "../support/http.ts";
import { call, echo, JsonrpcServers } from "../support/jsonrpc-servers.ts";

describe("the JSON-RPC server", () => {
  const servers = new JsonrpcServers();
  const open = servers.open.bind(servers);
  let authority: Authority;
  const closers: Array<() => unknown> = [];
  beforeAll(async () => {
    authority = await Authority.open();
  });
  afterAll(async () => {
    await authority[Symbol.asyncDispose]();
  });
  afterEach(async () => {
    for (const close of closers.splice(0)) close();
    await servers[Symbol.asyncDispose]();
  });

  describe("for web pages", () => {
    const cors = {
      allowed_hosts: ["^https://ok\\.example$"],
      allowed_headers: ["X-Own"],
      allowed_methods: ["POST" as const, "OPTIONS" as const],
    };
    const headers = {
      origin: "https://ok.example",
      "access-control-request-headers": "Content-Type, X-Other",
    };

    it("answers a browser's question", async () => {
      const { port } = await open({ cors });
      const reply = await send(port, "", { method: "OPTIONS", headers });
      expect(reply.status).toBe(200);
      expect(reply.text).toBe("");
      expect(reply.headers).toMatchObject({
        "access-control-allow-origin": "https://ok.example",
        "access-control-max-age": "60",
        "access-control-allow-headers": "content-type, x-other, x-own",
        "access-control-allow-methods": "POST, OPTIONS",
      });
    });

    it("lets a page of an allowed origin read the answer, even a 404", async () => {
      const { port } = await open({ cors });
      for (const [path, status] of [
        ["/jsonrpc", 200],
        ["/x", 404],
      ] as const) {
        const reply = await send(port, call(), { headers, path });
        expect(reply.status).toBe(status);
        expect(reply.headers["access-control-allow-origin"]).toBe("https://ok.example");
      }
    });

    it.each(["https://bad.example", "https://ok.example.bad", "null"])(
      "says nothing to a page of %s",
      async (origin) => {
        const { port } = await open({ cors });
        const reply = await send(port, "", { method: "OPTIONS", headers: { origin } });
        expect(reply.status).toBe(400);
        expect(reply.headers["access-control-allow-origin"]).toBeUndefined();
      },
    );

    it("allows nothing unless it is set", async () => {
      const { port } = await open();
      const reply = await send(port, call(), { headers });
      expect(reply.headers["access-control-allow-origin"]).toBeUndefined();
    });
  });

  describe("with TLS", () => {
    async function openTls() {
      const { port } = await open({ tls: await authority.issue("localhost") });
      const { cert, key, ca } = await readTls(await authority.issue("hd-1"));
      return { port, papers: { cert, key, ca, servername: "localhost" } };
    }

    it("speaks HTTP/1.1 and HTTP/2 on the same port", async () => {
      const { port, papers } = await openTls();
      const reply = await send(port, call({ id: 1 }), papers);
      expect(reply).toMatchObject({ status: 200, json: { id: 1 } });

      const session = connectHttp2(`https://127.0.0.1:${port}`, papers);
      closers.push(() => session.destroy());
      const stream = session.request({
        ":method": "POST",
        ":path": "/jsonrpc",
        "content-type": "application/json",
      });
      stream.end(call({ id: 2 }));
      const [headers] = await once(stream, "response");
      expect(headers[":status"]).toBe(200);
      const chunks: Buffer[] = [];
      for await (const chunk of stream) chunks.push(chunk);
      expect(JSON.parse(Buffer.concat(chunks).toString())).toMatchObject({ id: 2 });
    });

    it.each(["http/1.1", "h2"])("negotiates %s with who offers only that", async (protocol) => {
      const { port, papers } = await openTls();
      const socket = connectTls({ port, host: "127.0.0.1", ...papers, ALPNProtocols: [protocol] });
      closers.push(() => socket.destroy());
      await once(socket, "secureConnect");
      expect(socket.alpnProtocol).toBe(protocol);
    });

    it("refuses a client without a certificate, or with a stranger's", async () => {
      let called = false;
      const tls = await authority.issue("localhost");
      const { port } = await open({ tls }, async (...asked) => {
        called = true;
        return await echo(...asked);
      });
      await using stranger = await Authority.open();
      const { cert, key } = await readTls(await stranger.issue("hd-1"));
      const { ca } = await readTls(authority.nobody());
      const name = { ca, servername: "localhost" };
      await expect(send(port, call(), name)).rejects.toThrow();
      await expect(send(port, call(), { ...name, cert, key })).rejects.toThrow();
      expect(called).toBe(false);
    });
  });
});
