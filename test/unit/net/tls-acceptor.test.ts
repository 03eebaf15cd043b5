import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { afterEach, describe, expect, it } from "vitest";
import { acceptTls, readTls } from "../../../src/net/tls.ts";
import { Authority } from "../../support/certificates.ts";
import { until } from "../../support/until.ts";

const SHARE = 256;

describe("a TLS server", () => {
  const cleanup: Array<() => unknown> = [];
  afterEach(async () => {
    for (const each of cleanup.splice(0).reverse()) await each();
  });

  it("turns a source away that has too many handshakes under way, until some are over", async () => {
    const authority = await Authority.open();
    cleanup.push(() => authority[Symbol.asyncDispose]());
    const tls = { ...(await authority.issue("hd-1")), verify_client: false };
    let secured = 0;
    const acceptor = acceptTls(
      await readTls(tls),
      { ...tls, alpn: ["h2"] },
      {
        secured: () => {
          secured += 1;
        },
        failed: () => {},
      },
    );
    cleanup.push(() => acceptor[Symbol.asyncDispose]());
    const server = createServer((socket) => acceptor.accept(socket)).listen(0, "127.0.0.1");
    cleanup.push(() => server.close());
    await once(server, "listening");
    const { port } = server.address() as { port: number };
    let closed = 0;
    const knock = async (): Promise<Socket> => {
      const socket = connect(port, "127.0.0.1");
      cleanup.push(() => socket.destroy());
      socket
        .on("error", () => {})
        .on("close", () => {
          closed += 1;
        });
      await once(socket, "connect");
      return socket.resume();
    };
    const shake = async (): Promise<void> => {
      const socket = connectTls({ port, host: "127.0.0.1", rejectUnauthorized: false });
      cleanup.push(() => socket.destroy());
      await once(socket, "secureConnect");
    };

    // Those whose handshake is over do not count.
    for (let count = 0; count < 3; count += 1) await shake();
    const silent = await Promise.all(Array.from({ length: SHARE }, knock));
    expect(closed).toBe(0);
    await knock();
    await until(() => closed === 1, "one too many is turned away");
    await expect(shake()).rejects.toThrow();
    silent[0]?.destroy();
    await until(() => closed === 2, "a silent one has gone");
    await until(
      async () =>
        shake().then(
          () => true,
          () => false,
        ),
      "there is room again",
    );
    await until(() => secured === 4, "four handshakes went through");
  });
});
