import { Agent, request as httpRequest } from "node:http";
import { afterAll, afterEach, describe, expect, it } from "vitest";
import { aborted } from "../../src/core/deadline.ts";
import { Fault } from "../../src/core/fault.ts";
import { send } from "../support/http.ts";
import { call, echo, JsonrpcServers } from "../support/jsonrpc-servers.ts";
import { until } from "../support/until.ts";
import { dialFreely, Ear } from "../support/wires.ts";

const MIB = 1024 ** 2;

describe("the JSON-RPC server", () => {
  const servers = new JsonrpcServers();
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  afterEach(() => servers[Symbol.asyncDispose]());
  afterAll(() => agent.destroy());
  const open = servers.open.bind(servers);

  it("answers with the result, as the original does", async () => {
    const { port } = await open();
    const reply = await send(port, call({ id: "x" }));
    expect(reply.status).toBe(200);
    expect(reply.headers["content-type"]).toBe("application/json; charset=utf-8");
    expect(reply.text).toBe(
      '{"jsonrpc":"2.0","result":{"method":"hd-2.add","params":{"a":1}},"id":"x"}',
    );
  });

  it.each(["x", "n:5", "nn:5", "ü)(", 5, 0, -3, 2 ** 31, Number.MIN_SAFE_INTEGER, "5"])(
    "echoes the id %j exactly",
    async (id) => {
      const { port } = await open();
      expect((await send(port, call({ id }))).json["id"]).toBe(id);
    },
  );

  it.each([{}, { id: null }, { id: "" }])("answers a call with %j for an id", async (id) => {
    const { port } = await open();
    const { status, json } = await send(port, call(id));
    expect(status).toBe(200);
    expect(json["result"]).toMatchObject({ method: "hd-2.add" });
  });

  it("answers an error with 400, and with 500 if it is the server's own", async () => {
    const { port } = await open({}, async ({ method }) => {
      if (method === "declined") return { error: { code: 403, message: "no", data: { a: 1 } } };
      if (method === "fault") throw new Fault("not_found", "no such thing");
      throw new Error("the password is 1234");
    });
    const declined = await send(port, call({ id: 1, method: "declined" }));
    expect(declined.status).toBe(400);
    expect(declined.text).toBe(
      '{"jsonrpc":"2.0","error":{"code":403,"message":"no","data":{"a":1}},"id":1}',
    );
    const fault = await send(port, call({ id: 2, method: "fault" }));
    expect(fault.status).toBe(400);
    expect(fault.json).toMatchObject({ error: { code: 404, message: "no such thing" }, id: 2 });
    const bug = await send(port, call({ id: 3, method: "bug" }));
    expect(bug.status).toBe(500);
    expect(bug.json).toMatchObject({ error: { code: -32603 }, id: 3 });
    expect(bug.text).not.toContain("1234");
  });

  it.each([
    { type: "application/json", status: 200 },
    { type: "application/JSON; charset=utf-8", status: 200 },
    { type: "text/plain", status: 400 },
    { type: "application/jsonp", status: 400 },
    { type: "application/x-www-form-urlencoded", status: 400 },
    { type: "", status: 400 },
    { type: "nonsense", status: 400 },
  ])("answers $status to the content type '$type'", async ({ type, status }) => {
    const { port } = await open();
    const reply = await send(port, call({ id: 1 }), { headers: { "content-type": type } });
    expect(reply.status).toBe(status);
    if (status === 400) expect(reply.json).toMatchObject({ error: { code: -32700 }, id: null });
  });

  it.each([
    { what: "no JSON", body: "{", code: -32700 },
    { what: "nothing", body: "", code: -32700 },
    { what: "a text", body: '"hello"', code: -32700 },
    { what: "null", body: "null", code: -32700 },
    { what: "another version", body: call({ jsonrpc: "1.0" }), code: -32600 },
    { what: "no params", body: call({ params: undefined }), code: -32600 },
    { what: "a list of params", body: call({ params: [1] }), code: -32600 },
    { what: "a fraction as id", body: call({ id: 1.5 }), code: -32600 },
    {
      what: "params nested without end",
      body: `{"jsonrpc":"2.0","method":"m","params":${'{"a":'.repeat(50_000)}1${"}".repeat(50_000)}}`,
      code: -32600,
    },
  ])("refuses $what", async ({ body, code }) => {
    const { port } = await open();
    const { status, json } = await send(port, body);
    expect(status).toBe(400);
    expect(json).toMatchObject({ jsonrpc: "2.0", error: { code }, id: null });
  });

  it("refuses a batch, and says so", async () => {
    const { port } = await open();
    const { status, json } = await send(port, `[${call({ id: 1 })},${call({ id: 2 })}]`);
    expect(status).toBe(400);
    expect(json).toMatchObject({ error: { code: -32700 }, id: null });
    expect((json["error"] as { message: string }).message).toContain("batches are not supported");
  });

  it("serves only its path, whatever the method", async () => {
    const { port } = await open({ path: "/a|/b" });
    for (const path of ["/", "/jsonrpc", "/a/", "/x/b", "/ab", "//a"]) {
      const reply = await send(port, call(), { path });
      expect.soft(reply.status, path).toBe(404);
      expect.soft(reply.json, path).toEqual({ message: "not found" });
    }
    expect((await send(port, call(), { path: "/a" })).status).toBe(200);
    expect((await send(port, call(), { path: "/b?x=/" })).status).toBe(200);
    const length = `${Buffer.byteLength(call())}`;
    for (const method of ["GET", "PUT", "DELETE"]) {
      const options = { path: "/a", method, headers: { "content-length": length } };
      expect.soft((await send(port, call(), options)).status, method).toBe(200);
    }
  });

  it.each(["with its length told", "in chunks"])(
    "answers a body that is too large to a client that still sends, %s",
    async (how) => {
      let called = false;
      const { port } = await open({}, async (...asked) => {
        called = true;
        return await echo(...asked);
      });
      const size = 100 * MIB;
      const told = how === "in chunks" ? {} : { "content-length": `${size}` };
      let sent = 0;
      const chunk = Buffer.alloc(64 * 1024, " ");
      async function* body(): AsyncGenerator<Buffer> {
        for (; sent < size; sent += chunk.length) yield chunk;
      }
      const reply = await send(port, body(), { headers: told });
      expect(reply.status).toBe(413);
      expect(reply.headers.connection).not.toBe("close");
      expect(reply.json).toMatchObject({
        error: { code: -32600, message: expect.stringContaining("body_max") },
        id: null,
      });
      expect(called).toBe(false);
      expect((await send(port, call())).status).toBe(200);
    },
  );

  it("keeps a connection for the next call", async () => {
    const { port } = await open();
    for (const id of [1, 2, 3]) {
      expect((await send(port, call({ id }), { agent })).json["id"]).toBe(id);
    }
    expect(Object.values(agent.freeSockets).flat().length).toBe(1);
  });

  it("turns away whoever comes too often, before anything is read", async () => {
    const { port } = await open({ tcp_rate_limits: [{ type: "hour", limit: 2 }] });
    expect((await send(port, call())).status).toBe(200);
    expect((await send(port, call())).status).toBe(200);
    await expect(send(port, call())).rejects.toMatchObject({ code: "ECONNRESET" });
  });

  it("tells the handler that the caller hung up", async () => {
    const signals: AbortSignal[] = [];
    const { port } = await open({}, async (_, signal) => {
      signals.push(signal);
      await aborted(signal);
      throw signal.reason;
    });
    const headers = { "content-type": "application/json" };
    const request = httpRequest({
      port,
      host: "127.0.0.1",
      path: "/jsonrpc",
      method: "POST",
      headers,
    });
    request.on("error", () => {}).end(call());
    await until(() => signals.length === 1, "the call arrives");
    expect(signals[0]?.aborted).toBe(false);
    request.destroy();
    await until(() => signals[0]?.aborted === true, "the handler hears of it");
  });

  it("answers what is under way before it closes, and lets nobody else in", async () => {
    let arrived = false;
    let answer = (): void => {};
    const server = await open({}, async (...asked) => {
      arrived = true;
      await new Promise<void>((resolve) => {
        answer = resolve;
      });
      return await echo(...asked);
    });
    const reply = send(server.port, call({ id: "late" }));
    await until(() => arrived, "the call arrives");
    const idle = new Ear(await dialFreely(server.port));
    const closing = server[Symbol.asyncDispose]();
    await expect(dialFreely(server.port)).rejects.toMatchObject({ code: "ECONNREFUSED" });
    answer();
    expect(await reply).toMatchObject({ status: 200, json: { id: "late" } });
    await closing;
    await idle.hearsTheEnd();
  });

  it("answers with a fault what is still under way when it must close", async () => {
    let arrived = false;
    const server = await open({}, async (_, signal) => {
      arrived = true;
      await aborted(signal);
      throw signal.reason;
    });
    const reply = send(server.port, call({ id: "stuck" }));
    await until(() => arrived, "the call arrives");
    await server[Symbol.asyncDispose]();
    const message = "the server is stopping";
    expect(await reply).toMatchObject({ status: 400, json: { error: { message }, id: "stuck" } });
  });

  it("says which setting names an address that it cannot have", async () => {
    const { port } = await open();
    await expect(open({ bind_address: `127.0.0.1:${port}` })).rejects.toMatchObject({
      fault: "settings",
      message: expect.stringMatching(/\(test\): another program already listens there/),
    });
  });
});
