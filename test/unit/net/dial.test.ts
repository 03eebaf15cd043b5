import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { dial, resolveEndpoint } from "../../../src/net/dial.ts";
import { type Listener, listen } from "../../../src/net/listen.ts";

const never = new AbortController().signal;

describe("dialling", () => {
  const closers: Array<() => unknown> = [];
  afterEach(async () => {
    for (const close of closers.splice(0).reverse()) await close();
  });

  async function listener(accepted: Socket[] = []): Promise<Listener> {
    const opened = await listen({ bind: "127.0.0.1:0", setting: "test" }, (socket) => {
      accepted.push(socket);
      closers.push(() => socket.destroy());
    });
    closers.push(() => opened[Symbol.asyncDispose]());
    return opened;
  }

  it.each(["127.0.0.1", "localhost"])("reaches who listens on %s [jsonrpc 4]", async (host) => {
    const { port } = await listener();
    const socket = await dial(`${host}:${port}`, never);
    closers.push(() => socket.destroy());
    expect(socket).toMatchObject({ remoteAddress: "127.0.0.1", remotePort: port });
    expect(socket.allowHalfOpen).toBe(true);
  });

  it("says so where nobody listens", async () => {
    const server = createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as { port: number };
    await new Promise((resolve) => server.close(resolve));
    await expect(dial(`127.0.0.1:${port}`, never)).rejects.toMatchObject({
      fault: "unreachable",
      message: `nobody answers at 127.0.0.1:${port} (127.0.0.1:${port})`,
    });
  });

  it.each(["no-such-host.invalid:80", ":80"])("says so where %s is nobody", async (endpoint) => {
    await expect(dial(endpoint, never)).rejects.toMatchObject({ fault: "unreachable" });
  });

  it.each([
    "169.254.169.254:80",
    "169.254.0.1:80",
    "0.0.0.0:80",
    "0.1.2.3:80",
    "224.0.0.1:80",
    "255.255.255.255:80",
    "[::]:80",
    "[0:0:0:0:0:0:0:0]:80",
    "[::ffff:169.254.169.254]:80",
    "[::ffff:a9fe:a9fe]:80",
    "[0:0:0:0:0:ffff:a9fe:a9fe]:80",
    "[::ffff:0.0.0.0]:80",
    "[fe80::1]:80",
    "[febf::1]:80",
    "[ff02::1]:80",
    "[fd00:ec2::254]:80",
    "2852039166:80", // 169.254.169.254 as one number
    "0xa9fea9fe:80",
  ])("never reaches for %s", async (endpoint) => {
    await expect(dial(endpoint, never)).rejects.toMatchObject({ fault: "forbidden" });
  });

  it.each(["127.0.0.1:80", "10.0.0.1:80", "192.168.1.1:80", "[::1]:80", "[fd00::1]:80"])(
    "may reach for %s",
    async (endpoint) => {
      expect((await resolveEndpoint(endpoint)).port).toBe(80);
    },
  );

  it("ends when it is aborted", async () => {
    const accepted: Socket[] = [];
    const { port } = await listener(accepted);
    const reason = new Error("enough");
    await expect(dial(`127.0.0.1:${port}`, AbortSignal.abort(reason))).rejects.toBe(reason);
    expect(accepted).toEqual([]);

    const abort = new AbortController();
    const dialling = dial("192.0.2.1:9", abort.signal); // an address of which nothing comes back
    setImmediate(() => abort.abort(reason));
    await expect(dialling).rejects.toBe(reason);
  });
});
