import type { Socket } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { bindOptions, type Listener, type ListenOptions, listen } from "../../../src/net/listen.ts";
import { until } from "../../support/until.ts";
import { dialFreely, Ear } from "../../support/wires.ts";

describe("a listener", () => {
  const sockets: Socket[] = [];
  const listeners: Listener[] = [];
  afterEach(async () => {
    for (const socket of sockets.splice(0)) socket.destroy();
    for (const listener of listeners.splice(0)) await listener[Symbol.asyncDispose]();
  });

  async function open(options: Partial<ListenOptions> = {}) {
    const received: Socket[] = [];
    const base = { bind: "127.0.0.1:0", setting: "grpc_server: bind_address" };
    const all = Object.defineProperties(base, Object.getOwnPropertyDescriptors(options));
    const listener = await listen(all, (socket) => {
      received.push(socket);
      sockets.push(socket.on("error", () => {}));
    });
    listeners.push(listener);
    return { listener, received, port: listener.port };
  }

  async function knock(port: number): Promise<Socket> {
    const socket = await dialFreely(port);
    sockets.push(socket);
    return socket;
  }

  it("hands over connections that are paused and may be half open", async () => {
    const { port, received } = await open();
    const caller = await knock(port);
    caller.end("early");
    await until(() => received.length === 1, "it is handed over");
    const [socket] = received as [Socket];
    expect(socket).toMatchObject({ allowHalfOpen: true, readableLength: 0 });
    const ear = new Ear(socket);
    socket.resume();
    expect(await ear.hearsTheEnd()).toBe("end");
    expect(ear.bytes.toString()).toBe("early");
    const answer = new Ear(caller);
    socket.end("late");
    await answer.hearsTheEnd();
    expect(answer.bytes.toString()).toBe("late");
  });

  it("keeps to the rate limits that hold when somebody comes", async () => {
    let rate_limits: ListenOptions["rate_limits"];
    const { port, received } = await open({
      get rate_limits() {
        return rate_limits;
      },
    });
    for (const count of [1, 2, 3]) {
      await knock(port);
      await until(() => received.length === count, "it is handed over");
    }
    rate_limits = [{ type: "hour", limit: 1 }];
    await knock(port);
    await until(() => received.length === 4, "the first of the hour is handed over");
    const refused = new Ear(await knock(port));
    await refused.hearsTheEnd();
    expect(received).toHaveLength(4);
  });

  it("says which setting asks for an address that is taken, and what to do", async () => {
    const { port } = await open();
    await expect(open({ bind: `127.0.0.1:${port}` })).rejects.toMatchObject({
      fault: "settings",
      message:
        `cannot listen on 127.0.0.1:${port} (grpc_server: bind_address): ` +
        "another program already listens there; stop it, or change the address",
    });
  });

  it("says so when the machine has no such address", async () => {
    await expect(open({ bind: "192.0.2.1:0" })).rejects.toMatchObject({
      fault: "settings",
      message: expect.stringContaining("this machine has no such address"),
    });
  });

  it("hangs up on whoever comes too often, and tells nobody", async () => {
    const { port, received } = await open({ rate_limits: [{ type: "hour", limit: 1 }] });
    await knock(port);
    await until(() => received.length === 1, "the first is handed over");
    await new Ear(await knock(port)).hearsTheEnd();
    expect(received.length).toBe(1);
  });

  it.each([
    { connections_max: 1, connections_per_source_max: 10 },
    { connections_per_source_max: 1 },
  ])("hangs up on whoever is one too many, until somebody leaves: %j", async (limits) => {
    const { port, received } = await open(limits);
    const first = await knock(port);
    await until(() => received.length === 1, "the first is handed over");
    await new Ear(await knock(port)).hearsTheEnd();
    expect(received.length).toBe(1);
    first.destroy();
    received[0]?.destroy();
    await until(async () => {
      await knock(port);
      return received.length > 1;
    }, "there is room again");
  });

  it("leaves alone what it has handed over when it closes", async () => {
    const { listener, port, received } = await open();
    const ear = new Ear(await knock(port));
    await until(() => received.length === 1, "it is handed over");
    await listener[Symbol.asyncDispose]();
    await expect(dialFreely(port)).rejects.toMatchObject({ code: "ECONNREFUSED" });
    received[0]?.write("still here");
    expect((await ear.hears(10)).toString()).toBe("still here");
  });

  it.each([
    ["localhost:1", { host: "127.0.0.1", port: 1 }],
    [":2", { port: 2 }],
    ["[::1]:3", { host: "::1", port: 3 }],
  ])("takes %s for what the original takes it [jsonrpc 4]", (bind, options) => {
    expect(bindOptions(bind)).toEqual(options);
  });
});
