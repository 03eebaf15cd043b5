import { once } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import { connect, type Socket } from "node:net";
import { type Duplex, duplexPair } from "node:stream";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { silent } from "../../src/core/log.ts";
import { openHttpForwarder } from "../../src/rpc/http-forwarder.ts";
import { Forwarding, heldBytes } from "../support/forwarding.ts";
import { until } from "../support/until.ts";
import { Ear, openSockets } from "../support/wires.ts";

const MIB = 1024 ** 2;
const SOCKETS_MAX = 1_000;
const GET = ["GET / HTTP/1.1", "Host: a"] as const;
const POST = ["POST / HTTP/1.1", "Host: a"] as const;
const UPGRADE = [...GET, "Connection: Upgrade", "Upgrade: websocket"] as const;
const SWITCHING =
  "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n";

describe("the HTTP forwarder", () => {
  let sockets: number | undefined;

  beforeEach(() => {
    sockets = openSockets();
  });
  afterEach(async () => {
    await until(
      () => openSockets() === sockets,
      () => `${sockets} sockets are left (there are ${openSockets()})`,
    );
  });

  describe("where a connection upgrades", () => {
    /** An internal server that agrees to every upgrade and hands over the socket. */
    async function upgrading(agreed: (socket: Socket, request: IncomingMessage) => void) {
      const at = await Forwarding.open((_, response) => response.end("plain"));
      at.internal.on("upgrade", (request, socket: Socket, head: Buffer) => {
        socket.on("error", () => {}).write(`${SWITCHING}X-Key: 7\r\n\r\nhello `);
        if (head.length > 0) socket.unshift(head);
        agreed(socket, request);
      });
      return at;
    }

    it("passes raw bytes both ways, also those that come with the headers, and half-close", async () => {
      let asked: IncomingMessage | undefined;
      await using at = await upgrading((socket, request) => {
        asked = request;
        socket.allowHalfOpen = true;
        const ear = new Ear(socket);
        socket.on("end", () => socket.end(Buffer.concat([Buffer.from("you said "), ear.bytes])));
      });
      const { socket, ear } = await at.say(...UPGRADE, "", "\0early\xff");
      await until(() => ear.bytes.includes("hello "), "it upgrades");
      socket.end("late");
      expect(await ear.hearsTheEnd()).toBe("end");
      const [header, bytes] = ear.bytes.toString("latin1").split("\r\n\r\n");
      expect(header).toBe(
        "HTTP/1.1 101 Switching Protocols\r\nX-Key: 7\r\nConnection: Upgrade\r\nUpgrade: websocket",
      );
      expect(bytes).toBe("hello you said \0early\xfflate");
      expect(asked?.headers).toMatchObject({ connection: "Upgrade", upgrade: "websocket" });
      expect(asked?.headers).toMatchObject({ host: at.host, "x-forwarded-proto": "https" });
    });

    it("lets the server end first and still hear the client", async () => {
      let heard: Ear | undefined;
      await using at = await upgrading((socket) => {
        socket.allowHalfOpen = true;
        heard = new Ear(socket);
        socket.end("bye");
      });
      const { socket, ear } = await at.say(...UPGRADE, "", "");
      expect(await ear.hearsTheEnd()).toBe("end");
      socket.end("after your end");
      expect(await heard?.hearsTheEnd()).toBe("end");
      expect(heard?.bytes.toString()).toBe("after your end");
    });

    it.each(["client", "server"])("breaks both where the %s breaks", async (breaker) => {
      let internal: Socket | undefined;
      await using at = await upgrading((socket) => {
        internal = socket;
      });
      const { socket, ear } = await at.say(...UPGRADE, "", "");
      await until(() => ear.bytes.includes("hello "), "it upgrades");
      const other = breaker === "client" ? new Ear(internal as Socket) : ear;
      (breaker === "client" ? socket : internal)?.resetAndDestroy();
      expect(await other.hearsTheEnd()).toBe("ECONNRESET");
    });

    it("passes a refusal on, however large, and is done with the connection", async () => {
      const body = Buffer.alloc(4 * MIB, "n");
      await using at = await Forwarding.open((_, response) => response.end());
      at.internal.on("upgrade", (_, socket) => {
        socket.write(`HTTP/1.1 401 Unauthorized\r\nContent-Length: ${body.length}\r\n\r\n`);
        socket.end(body);
      });
      const { ear, socket } = await at.say(...UPGRADE, "", "");
      socket.pause();
      await until(() => socket.readableLength > 0, "it answers");
      socket.resume();
      expect(await ear.hearsTheEnd()).toBe("end");
      expect(ear.bytes.toString()).toMatch(/^HTTP\/1\.1 401 Unauthorized\r\n/);
      expect(ear.bytes.subarray(-body.length).equals(body)).toBe(true);
    });

    it("resets it when it closes", async () => {
      await using at = await upgrading(() => {});
      const { ear } = await at.say(...UPGRADE, "", "");
      await until(() => ear.bytes.includes("hello "), "it upgrades");
      await at.forwarder[Symbol.asyncDispose]();
      expect(await ear.hearsTheEnd()).toBe("ECONNRESET");
    });
  });

  describe("where something goes wrong", () => {
    it("answers 502 where nobody listens, names the setting and not the address", async () => {
      await using at = await Forwarding.open(() => {});
      const { host } = at;
      at.internal.close();
      const answer = await at.ask(...POST, "Connection: close", "Content-Length: 3", "", "abc");
      expect(answer).toMatch(/^HTTP\/1\.1 502 Bad Gateway\r\n.*internal_endpoint\.address/s);
      expect(answer).not.toMatch(new RegExp(`${host}|127\\.0\\.0\\.1|${host.split(":")[1]}`));
    });

    it.each([
      "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
      "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
      "HTTP/1.1 200 OK\r\nX: \x7f\x01\r\n\r\n",
      "SSH-2.0-OpenSSH_9.9\r\n",
      "",
    ])("answers 502 where the internal server says %j", async (words) => {
      await using at = await Forwarding.open(({ socket }) => socket.end(words, "latin1"));
      expect(await at.ask(...GET, "Connection: close", "", "")).toMatch(
        /^HTTP\/1\.1 502 Bad Gateway\r/,
      );
    });

    it.each([
      { what: "nobody listens", status: 502, serve: undefined },
      {
        what: "the answer comes before the body",
        status: 413,
        serve: (_: IncomingMessage, response: ServerResponse) => {
          response.writeHead(413, { Connection: "close" }).end();
        },
      },
    ])("hears a client to the end of its body where $what", async ({ status, serve }) => {
      await using at = await Forwarding.open(serve ?? (() => {}));
      if (!serve) at.internal.close();
      const { socket, ear } = await at.say(...POST, `Content-Length: ${4 * MIB + 1}`, "", "!");
      await until(() => ear.bytes.includes(`HTTP/1.1 ${status} `), "it answers");
      socket.write(Buffer.alloc(4 * MIB));
      const heard = ear.size;
      socket.write([...GET, "Connection: close", "", ""].join("\r\n"));
      expect(await ear.hearsTheEnd()).toBe("end");
      expect(ear.bytes.subarray(heard).toString()).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `));
    });

    it("answers 504 where the internal server is silent", async () => {
      let asked: IncomingMessage | undefined;
      await using at = await Forwarding.open(
        (request) => {
          asked = request;
        },
        { timeout_ms: 200 },
      );
      const answer = await at.ask(...GET, "Connection: close", "", "");
      expect(answer).toMatch(/^HTTP\/1\.1 504 Gateway Timeout\r\n.*internal_endpoint\.timeout/s);
      await until(() => asked?.destroyed === true, "the internal server is told");
    });

    it.each([
      { what: "falls silent", settings: { timeout_ms: 200 }, end: () => {} },
      {
        what: "breaks",
        settings: {},
        end: ({ socket }: ServerResponse) => socket?.resetAndDestroy(),
      },
      { what: "ends too early", settings: {}, end: ({ socket }: ServerResponse) => socket?.end() },
    ])("resets the client where the internal server $what mid-body", async ({ settings, end }) => {
      for (const length of [{ "Content-Length": 100 }, {}]) {
        let answer: ServerResponse | undefined;
        await using at = await Forwarding.open((_, response) => {
          answer = response.writeHead(200, length);
          response.write("half");
        }, settings);
        const { ear } = await at.say(...GET, "", "");
        await until(() => ear.bytes.includes("half"), "half arrives");
        if (answer) end(answer);
        expect(await ear.hearsTheEnd()).toBe("ECONNRESET");
      }
    });

    it.each(["before the answer", "mid-answer", "mid-request"])(
      "tells the internal server where the client breaks %s",
      async (when) => {
        let asked: IncomingMessage | undefined;
        await using at = await Forwarding.open((request, response) => {
          asked = request.on("error", () => {});
          if (when === "mid-answer") response.write("half");
        });
        const head = when === "mid-request" ? [...POST, "Content-Length: 9"] : GET;
        const { socket, ear } = await at.say(...head, "", when === "mid-request" ? "half" : "");
        await until(() => asked !== undefined, "the internal server is asked");
        if (when === "mid-answer") await until(() => ear.bytes.includes("half"), "half arrives");
        socket.destroy();
        await until(() => asked?.socket.destroyed === true, "the internal server is told");
        expect(at.connections.internal).toBe(1);
      },
    );

    it("makes an endless answer wait for a client that does not read, and holds little", async () => {
      const chunk = Buffer.alloc(MIB);
      let sent = 0;
      await using at = await Forwarding.open((_, response) => {
        const write = (): void => {
          do sent += MIB;
          while (response.write(chunk));
        };
        response.on("drain", write);
        write();
      });
      const before = heldBytes();
      const { socket } = await at.say(...GET, "", "");
      socket.pause();
      let stable = 0;
      let last = -1;
      await until(() => {
        stable = sent === last ? stable + 1 : 0;
        last = sent;
        return sent > 0 && stable > 50;
      }, "the internal server waits");
      expect(heldBytes() - before).toBeLessThan(4 * MIB);
    });
  });

  describe("among strangers", () => {
    it.each([
      {
        what: "two lengths",
        status: 400,
        head: ["Content-Length: 4", "Transfer-Encoding: chunked"],
      },
      {
        what: "two lengths, turned",
        status: 400,
        head: ["Transfer-Encoding: chunked", "Content-Length: 4"],
      },
      { what: "unequal lengths", status: 400, head: ["Content-Length: 4", "Content-Length: 5"] },
      { what: "a negative length", status: 400, head: ["Content-Length: -1"] },
      { what: "chunked not last", status: 400, head: ["Transfer-Encoding: chunked, identity"] },
      { what: "another coding", status: 501, head: ["Transfer-Encoding: gzip, chunked"] },
      { what: "a space before a colon", status: 400, head: ["Content-Length : 4"] },
      { what: "a folded line", status: 400, head: ["X: 1", " Content-Length: 4"] },
      { what: "a bare line feed", status: 400, head: ["X: 1\nContent-Length: 4"] },
      { what: "two hosts", status: 400, head: ["Host: b"] },
      { what: "too large a header", status: 431, head: [`X: ${"x".repeat(20_000)}`] },
    ])("refuses $what with $status", async ({ status, head }) => {
      let asked = 0;
      await using at = await Forwarding.open((_, response) => {
        asked += 1;
        response.end();
      });
      const { ear } = await at.say(...POST, ...head, "Connection: close", "", "0", "", "");
      await ear.hearsTheEnd();
      expect(ear.bytes.toString()).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `));
      expect(asked).toBe(0);
    });

    it.each([
      { what: "a header", words: ["GET / HT"] },
      { what: "a body", words: [...POST, "Content-Length: 4", "", "hi"] },
    ])("gives a client that never finishes $what a 408", async ({ words }) => {
      await using at = await Forwarding.open(() => {}, { client_timeout_ms: 200 });
      expect(await at.ask(...words)).toMatch(/^HTTP\/1\.1 408 Request Timeout\r\n/);
    });

    it("hangs up on a client that asks for nothing more", async () => {
      await using at = await Forwarding.open((_, response) => response.end(), {
        client_timeout_ms: 200,
      });
      expect(await at.ask(...GET, "", "")).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
    });

    it(`serves ${SOCKETS_MAX} sockets at once and no more`, async () => {
      const forwarder = openHttpForwarder(
        { address: "localhost:1", timeout_ms: 1_000 },
        { log: silent },
      );
      const open = () => {
        const [near, far] = duplexPair();
        forwarder.accept(far);
        near.resume();
        return far;
      };
      const served = Array.from({ length: SOCKETS_MAX }, open);
      expect(served.some(({ destroyed }) => destroyed)).toBe(false);
      expect(open().destroyed).toBe(true);
      served[0]?.destroy();
      await once(served[0] as Duplex, "close");
      expect(open().destroyed).toBe(false);
      await forwarder[Symbol.asyncDispose]();
      await until(() => served.every(({ destroyed }) => destroyed), "all are closed");
    });
  });

  describe("when it closes", () => {
    it("lets an answer under way finish, hangs up on the idle, and takes nobody new", async () => {
      let answer: ServerResponse | undefined;
      await using at = await Forwarding.open(({ url }, response) => {
        if (url === "/idle") response.end();
        else answer = response;
      });
      const busy = await at.say(...GET, "", "");
      const idle = await at.say("GET /idle HTTP/1.1", "Host: a", "", "");
      await until(() => answer !== undefined && idle.ear.size > 0, "both are known");
      const closed = at.forwarder[Symbol.asyncDispose]();
      expect(await idle.ear.hearsTheEnd()).toBe("end");
      expect(await new Ear(connect(at.port, "127.0.0.1")).hearsTheEnd()).toBe("ECONNRESET");
      answer?.end("at last");
      await closed;
      expect(await busy.ear.hearsTheEnd()).toBe("end");
      expect(busy.ear.bytes.toString()).toMatch(/Connection: close\r\n\r\nat last$/);
    });

    it("does not wait for ever", async () => {
      let asked: IncomingMessage | undefined;
      await using at = await Forwarding.open((request) => {
        asked = request;
      });
      const { ear } = await at.say(...GET, "", "");
      await until(() => asked !== undefined, "the internal server is asked");
      await at.forwarder[Symbol.asyncDispose]();
      expect(await ear.hearsTheEnd()).toBe("ECONNRESET");
      await until(() => asked?.socket.destroyed === true, "the internal server is told");
    });
  });
});
