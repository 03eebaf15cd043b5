import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:http";
import { type AddressInfo, connect, createServer as createTcpServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, it } from "vitest";
import { loaded } from "../support/chromium.ts";
import { DOMAIN, foundPassthrough, type Passthrough } from "../support/passthrough.ts";
import { describeWith } from "../support/tools.ts";

const run = promisify(execFile);

/** Chromium takes the page for loaded when the picture is there, which comes when the page has reported. */
const PAGE = `<!doctype html><title>from inside</title><img src="/picture"><script>
  const greeting = new Promise((heard, failed) => {
    const socket = new WebSocket("wss://" + location.host + "/socket");
    socket.onerror = () => failed(new Error("the socket broke"));
    socket.onmessage = ({ data }) => heard(data);
  });
  const echo = fetch("/echo", { method: "POST", body: "x".repeat(100_000) }).then((r) => r.text());
  Promise.all([greeting, echo])
    .then(([hello, body]) => hello + ", and an echo of " + body.length + " bytes", String)
    .then((body) => {
      document.title = body;
      return fetch("/report", { method: "POST" });
    });
</script>`;

/** A server of pages, echoes and web sockets. */
function serveInside() {
  let report = (): void => {};
  const reported = new Promise<void>((resolve) => {
    report = resolve;
  });
  const server = createServer(async (request, reply) => {
    if (request.url === "/picture") await reported;
    if (request.url === "/report") report();
    if (request.url === "/echo") return void reply.end(await text(request));
    reply.setHeader("content-type", "text/html");
    reply.end(request.url === "/" ? PAGE : "");
  });
  server.on("upgrade", (request, socket) => {
    const key = `${request.headers["sec-websocket-key"]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`;
    const accept = createHash("sha1").update(key).digest("base64");
    const greeting = Buffer.from("hello by web socket");
    socket.on("error", () => {}).resume();
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: ${accept}\r\n\r\n`,
    );
    // One text frame from a server, which masks nothing (RFC 6455, 5.2).
    socket.end(Buffer.concat([Buffer.of(0x81, greeting.length), greeting]));
  });
  return server;
}

describeWith(["chromium", "certutil"], "a browser outside, and a page inside", () => {
  let passthrough: Passthrough;
  let home: string;
  let way: Server;
  const hellos: Buffer[] = [];

  beforeAll(async () => {
    passthrough = await foundPassthrough(serveInside());
    home = await mkdtemp(join(tmpdir(), "chromium-"));
    const trusted = join(home, ".pki", "nssdb");
    await mkdir(trusted, { recursive: true });
    const database = ["-d", `sql:${trusted}`];
    await run("certutil", [...database, "-N", "--empty-password"]);
    const root = join(passthrough.town.certs, "root.crt");
    await run("certutil", [...database, "-A", "-t", "C,,", "-n", "test root", "-i", root]);

    // The way to the door, on which the hello is kept and comes in small pieces.
    way = createTcpServer((browser) => {
      const door = connect({ port: passthrough.town.port(4433), host: "127.0.0.1", noDelay: true });
      browser.once("data", async (hello: Buffer) => {
        hellos.push(hello);
        browser.pause();
        for (let at = 0; at < hello.length; at += 100) {
          await new Promise((sent) => door.write(hello.subarray(at, at + 100), sent));
        }
        browser.pipe(door);
      });
      door.pipe(browser);
      for (const each of [browser, door]) each.on("error", () => {});
      browser.on("close", () => door.destroy());
    });
    way.listen(0, "127.0.0.1");
    await once(way, "listening");
    await passthrough.announced();
  });
  afterAll(async () => {
    way?.close();
    await passthrough?.[Symbol.asyncDispose]();
    if (home) await rm(home, { recursive: true, force: true, maxRetries: 5 });
  });

  /** What the page at this name looks like when it is loaded, and what the browser complains of. */
  async function page(name: string, port = 443): Promise<{ stdout: string; stderr: string }> {
    const { port: tap } = way.address() as AddressInfo;
    const only = `MAP ${name}:${port} 127.0.0.1:${tap}, `;
    return await loaded(`https://${name}:${port}/`, { home, only });
  }

  it("get together, with fetch and a web socket, under a certificate that the browser trusts", {
    timeout: 90_000,
  }, async () => {
    expect((await page(DOMAIN)).stdout).toContain(
      "<title>hello by web socket, and an echo of 100000 bytes</title>",
    );
    // X25519MLKEM768, 1216 bytes of key share: what makes a hello longer than a packet.
    expect(hellos[0]?.includes(Buffer.from("11ec04c0", "hex"))).toBe(true);
    expect(hellos[0]?.length).toBeGreaterThan(1_460);
  });

  it("do not when nobody announced the name, and the browser says why", {
    timeout: 90_000,
  }, async () => {
    const { stdout, stderr } = await page("nobody.internal-server.local");
    expect(stdout).not.toContain("from inside");
    expect(stderr).toMatch(/handshake failed.*net_error -159/);
  });
});
