import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import { connect as connectTls, createSecureContext, TLSSocket } from "node:tls";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Town } from "../../src/roles/dev/town.ts";
import { eventually, foundTown, settingsWithCertificates } from "../support/town.ts";
import { until } from "../support/until.ts";
import { dialFreely, Ear } from "../support/wires.ts";
import { type Entry, jsonDirectory, tlsOf } from "./original/certificates.ts";
import { OriginalError, OriginalJsonrpcServer, originalCall } from "./original/jsonrpc.ts";
import type { Json, JsonObject } from "./original/messages.ts";

const [PUBLIC, PRIVATE] = ["public-proxy-1.ga", "private-proxy-1.ga"];
const DOMAIN = "test.internal-server.local";

/** Our proxies; what is beside them are original endpoints, of which only the JSON-RPC servers are needed. */
let settings: Awaited<ReturnType<typeof settingsWithCertificates>>;
let town: Town;
let directory: Map<string, Entry>;
let besidePublic: OriginalJsonrpcServer;
let besidePrivate: OriginalJsonrpcServer;
/** What our proxies asked the endpoints beside them. */
const asked: Array<{ method: string; params: JsonObject }> = [];
/** What those answer; an error where there is nothing. */
const answers = new Map<string, Json>();

beforeAll(async () => {
  settings = await settingsWithCertificates();
  town = await foundTown(settings.folder);
  const { certs } = town;
  directory = jsonDirectory(town.directory);
  const handle = ({ method, params }: { method: string; params: JsonObject }): Json => {
    asked.push({ method, params });
    const answer = answers.get(method);
    if (answer === undefined) throw new OriginalError(1, "no channel can deliver this request");
    return answer;
  };
  besidePublic = new OriginalJsonrpcServer(handle, tlsOf(certs, PUBLIC));
  besidePrivate = new OriginalJsonrpcServer(handle, tlsOf(certs, PRIVATE));
  await besidePublic.listen(town.port(5544));
  await besidePrivate.listen(town.port(7766));
  await Promise.all([town.start("public-proxy-1"), town.start("private-proxy-1")]);
});
afterAll(async () => {
  for (const each of [besidePublic, besidePrivate, town, settings])
    await each[Symbol.asyncDispose]();
});

const client = (name: string): Json => ({ name, entry: directory.get(name) as unknown as Json });
const callPublic = (method: string, params: JsonObject) =>
  originalCall(
    { port: town.port(6655), tls: tlsOf(town.certs, PUBLIC), server_name: PUBLIC },
    { method, params },
  );
const callPrivate = (method: string, params: JsonObject) =>
  originalCall({ port: town.port(8877) }, { method, params });
const announceAtPublic = (...domains: string[]) =>
  callPublic("announceConnections", {
    connections: domains.map((domain) => ({ domain, expires_at: null, proxy: PUBLIC })),
    _client: client(PRIVATE),
  });

describe("our public proxy, to an original private proxy", () => {
  it("takes announcements, and answers each with null or with why not [p2p 4]", async () => {
    const { result } = await announceAtPublic(DOMAIN, "www.example.com");
    expect(result).toEqual([null, { code: 403, message: expect.stringContaining("not allowed") }]);
    const { result: listed } = await callPublic("getAnnouncements", { _client: client(PRIVATE) });
    expect(listed).toEqual([{ expires_at: null, operator: PRIVATE, domain: DOMAIN }]);
  });

  it("tells it of a client, and passes on all that the client has said and says [p2p 4]", async () => {
    await announceAtPublic(DOMAIN);
    answers.set(`${PRIVATE}.incomingConnection`, { message: "ok" });
    asked.length = 0;
    const browser = browse(DOMAIN);
    await until(() => asked.length === 1, "the private proxy is told");
    const [{ method, params }] = asked as [(typeof asked)[0]];
    expect(method).toBe(`${PRIVATE}.incomingConnection`);
    expect(params).toEqual({
      domain: DOMAIN,
      token: expect.stringMatching(/^[A-Za-z0-9+/]{43}=$/),
      endpoint: `localhost:${town.port(9999)}`,
    });
    const token = Buffer.from(String(params["token"]), "base64");
    expect(token).toHaveLength(32);
    const socket = await dialFreely(town.port(9999));
    socket.write(token);
    const inside = serveTls(socket);
    await once(browser, "secureConnect");
    browser.end("hello");
    const [heard] = await once(inside, "data");
    expect(String(heard)).toBe("hello");
    socket.destroy();
  });

  it.each([`a.${DOMAIN}`, "internal-server.local", "nternal-server.local"])(
    "tells it of nobody who asks for %s [p2p 6]",
    async (servername) => {
      await announceAtPublic(DOMAIN);
      asked.length = 0;
      const browser = browse(servername);
      await once(browser, "error");
      expect(asked).toEqual([]);
    },
  );

  it("names a domain to it in the letters it was announced with [p2p 6]", async () => {
    await announceAtPublic("Mixed.Internal-Server.local");
    asked.length = 0;
    const servername = "mixed.internal-server.local";
    const browser = browse(servername);
    await until(() => asked.length === 1, "the private proxy is told");
    expect(asked[0]?.params["domain"]).toBe("Mixed.Internal-Server.local");
    browser.destroy();
  });
});

describe("our public proxy, to an original endpoint", () => {
  it("asks for a connection as originals do, and answers with a token and where to show it [p2p 3]", async () => {
    answers.set("hd-2._connectionRequest", {});
    asked.length = 0;
    const endpoint = `localhost:${town.port(9999)}`;
    const wish = { to: "hd-2", channel: "grpc_server", _client: client("hd-1") };
    const { status, result } = await callPublic("requestConnection", wish);
    expect(status).toBe(200);
    expect(result).toMatchObject({ endpoint, token: expect.stringMatching(/^[\w+/]{43}=$/) });
    const [{ method, params }] = asked as [(typeof asked)[0]];
    expect(method).toBe("hd-2._connectionRequest");
    expect(Object.keys(params).sort()).toEqual(["channel", "client", "endpoint", "token"]);
    expect(params).toMatchObject({ endpoint, channel: "grpc_server", client: { name: "hd-1" } });

    // The two meet, whoever of them comes first, and no byte comes from the proxy itself.
    const [a, b] = [await dialFreely(town.port(9999)), await dialFreely(town.port(9999))];
    const [atA, atB] = [new Ear(a), new Ear(b)];
    b.write(Buffer.concat([Buffer.from(String(params["token"]), "base64"), Buffer.from("from b")]));
    a.write(Buffer.from(String((result as JsonObject)["token"]), "base64"));
    expect(String(await atA.hears(6))).toBe("from b");
    a.write("from a");
    expect(String(await atB.hears(6))).toBe("from a");
    a.destroy();
    b.destroy();
  });

  it("passes on the words of an original that cannot connect [jsonrpc 3]", async () => {
    const wish = { to: "op-1", channel: "grpc_server", _client: client("hd-1") };
    expect(await callPublic("requestConnection", wish)).toMatchObject({
      status: 400,
      error: { code: 1, message: "no channel can deliver this request" },
    });
    // Nobody will come, so the token that was sent is good for nothing.
    const { token } = asked.at(-1)?.params ?? {};
    const socket = await dialFreely(town.port(9999));
    const ear = new Ear(socket);
    socket.write(Buffer.from(String(token), "base64"));
    await ear.hearsTheEnd();
    socket.destroy();
  });
});

describe("our private proxy, to an original public proxy", () => {
  it("announces as originals do, and is content with null [p2p 4]", async () => {
    answers.set(`${PUBLIC}.announceConnections`, [null]);
    asked.length = 0;
    const domain = "Test.Internal-Server.local"; // an original looks for what clients send
    const wish = { domain, proxy: PUBLIC, expires_at: null, _client: client("hd-1") };
    expect(await callPrivate("announceConnection", wish)).toMatchObject({ result: "ok" });
    expect(asked).toEqual([
      {
        method: `${PUBLIC}.announceConnections`,
        params: { connections: [{ expires_at: null, proxy: PUBLIC, domain: DOMAIN }] },
      },
    ]);
  });

  it("tells whoever asked what an original thinks of an announcement", async () => {
    const domain = "taken.internal-server.local";
    answers.set(`${PUBLIC}.announceConnections`, [{ code: 409, message: "already taken" }]);
    const wish = { domain, proxy: PUBLIC, expires_at: null, _client: client("hd-1") };
    expect(await callPrivate("announceConnection", wish)).toMatchObject({
      status: 400,
      error: { code: 409, message: expect.stringContaining("already taken") },
    });
    answers.set(`${PUBLIC}.announceConnections`, [null]);
  });

  it("fetches a client that waits there, with the token in one piece and before all else [p2p 1]", async () => {
    const waiting: Socket[] = [];
    const reads: Buffer[] = [];
    const door = createServer((socket) => {
      waiting.push(socket);
      // One read of at most 32 bytes, as an original has it.
      socket.once("readable", () => {
        reads.push(socket.read(Math.min(32, socket.readableLength)));
      });
    }).listen(0, "127.0.0.1");
    await once(door, "listening");
    const { port } = door.address() as { port: number };
    const token = randomBytes(32);
    const incoming = (from: string) =>
      callPrivate("incomingConnection", {
        domain: DOMAIN,
        endpoint: `localhost:${port}`,
        token: token.toString("base64"),
        _client: client(from),
      });
    expect(await incoming("hd-2")).toMatchObject({ status: 400, error: { code: 404 } });
    expect(await eventually(5_000, () => incoming(PUBLIC))).toMatchObject({
      result: { message: "ok" },
    });
    await until(() => reads.length === 1, "the token comes");
    expect(reads[0]).toEqual(token);
    // The original passes on what the client has said; TLS ends in the private proxy.
    const browser = connectTls({
      socket: waiting[0] as Socket,
      servername: DOMAIN,
      ca: tlsOf(town.certs, "internal-server").ca,
    });
    await once(browser, "secureConnect");
    expect(browser.getPeerCertificate().subject.CN).toBe("internal-server");
    browser.destroy();
    door.close();
  });
});

/** A TLS client of the public proxy, from anywhere. */
function browse(servername: string): TLSSocket {
  const where = { host: "127.0.0.1", port: town.port(4433), servername };
  return connectTls({ ...where, rejectUnauthorized: false }).on("error", () => {});
}

/** Plays a TLS server on a socket that was dialled. */
function serveTls(socket: Socket): TLSSocket {
  const { cert, key } = tlsOf(town.certs, "internal-server");
  const secureContext = createSecureContext({ cert, key });
  return new TLSSocket(socket, { isServer: true, secureContext }).on("error", () => {});
}
