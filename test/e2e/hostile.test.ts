import { once } from "node:events";
import { readFile, writeFile } from "node:fs/promises";
import { createServer, type Server, type ServerResponse } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import type { Town } from "../../src/roles/dev/town.ts";
import type { Answer } from "../../src/wire/answer.ts";
import type { JsonObject } from "../../src/wire/json.ts";
import {
  eventually,
  foundTown,
  GATEWAY,
  PING_ROLES,
  settingsWithCertificates,
  startPing,
} from "../support/town.ts";
import { until } from "../support/until.ts";

const MIB = 1024 ** 2;
const METHODS = ["echo", "large", "deep", "held"];
const PROXY_EPS = { role: "public-proxy-1.ga", port: 5544 };

/** The service behind hd-2. It answers `held` when the test lets go. */
class Service {
  readonly held: Array<() => void> = [];
  readonly server: Server;

  constructor() {
    this.server = createServer((request, response) => {
      let body = "";
      request.on("data", (chunk) => {
        body += chunk;
      });
      request.on("end", () => this.#answer(JSON.parse(body), response));
    });
  }

  async isAsked(calls: number): Promise<void> {
    await until(() => this.held.length === calls, `the service holds ${calls} calls`);
  }

  letGo(): void {
    for (const answer of this.held.splice(0)) answer();
  }

  #answer({ id, method, params }: JsonObject, response: ServerResponse): void {
    const { size = 0 } = params as { size?: number };
    const send = (result: unknown): void => {
      response.setHeader("content-type", "application/json");
      response.end(JSON.stringify({ jsonrpc: "2.0", id, result }));
    };
    if (method === "held") this.held.push(() => send("answered"));
    else if (method === "large") send("x".repeat(size));
    else if (method === "deep") send(nested(size));
    else send(params);
  }
}

function nested(levels: number): JsonObject {
  let value: JsonObject = {};
  for (let level = 1; level < levels; level += 1) value = { a: value };
  return value;
}

const service = new Service();
let settings: Awaited<ReturnType<typeof settingsWithCertificates>>;
let town: Town;

beforeAll(async () => {
  service.server.listen(0, "127.0.0.1");
  await once(service.server, "listening");
  const { port } = service.server.address() as AddressInfo;
  settings = await settingsWithCertificates();
  town = await foundTown(settings.folder);
  await change(join(town.settings("hd-2"), "001_default.yml"), (text) =>
    text.replace(/http:\/\/localhost:\d+\//, `http://127.0.0.1:${port}/`),
  );
  // All strangers come from one address here, and shall meet the other limits.
  for (const role of ["public-proxy-1", "public-proxy-eps-1"]) {
    await change(join(town.settings(role), "001_default.yml"), (text) =>
      text.replace("limit: 1000", "limit: 1000000"),
    );
  }
  await changeRecords("001_base.json", ({ name, section, data }) => {
    if (name !== "hd-2" || section !== "services") return;
    const permissions = [{ group: "*", rights: ["call"] }];
    for (const method of METHODS) data[0]?.methods.push({ name: method, permissions });
  });
  await startPing(town);
});
afterEach(() => service.letGo());
afterAll(async () => {
  await town[Symbol.asyncDispose]();
  await settings[Symbol.asyncDispose]();
  service.server.closeAllConnections();
  service.server.close();
});

/** Changes a file, and returns a function that puts it back. */
async function change(file: string, edit: (text: string) => string): Promise<() => Promise<void>> {
  const before = await readFile(file, "utf8");
  const after = edit(before);
  expect(after, "the change must change something").not.toBe(before);
  await writeFile(file, after);
  return async () => await writeFile(file, before);
}

type Pin = { key_usage: string; fingerprint: string };
type ServiceEntry = { methods: unknown[] };
type ChangeRecord = { name: string; section: string; data: Array<Pin & ServiceEntry> };
const changeRecords = (file: string, edit: (record: ChangeRecord) => void) =>
  change(join(town.directory, file), (text) => {
    const { records } = JSON.parse(text) as { records: ChangeRecord[] };
    for (const record of records) edit(record);
    return JSON.stringify({ records });
  });

type Call = { method: string; params?: JsonObject; id?: string };
/** From hd-1, through a circuit. */
const fromHd1 = (call: Call): Promise<Answer> =>
  town.call({ role: "hd-1", port: GATEWAY["hd-1"] }, { ...call, method: `hd-2.${call.method}` });
/** From the proxy's endpoint, down hd-2's reverse stream. */
const downTheStream = (call: Call): Promise<Answer> =>
  town.call(PROXY_EPS, { ...call, method: `hd-2.${call.method}` });
const WAYS = [
  ["through a circuit", fromHd1],
  ["down a reverse stream", downTheStream],
] as const;
const streamsEnded = (): number =>
  town
    .program("public-proxy-eps-1")
    .lines()
    .filter(({ msg }) => msg === "reverse stream gone").length;

describe.each(WAYS)("a call %s", (_, call) => {
  it("is refused with the limit when it is too large, and disturbs no other call", async () => {
    const other = call({ method: "held" });
    await service.isAsked(1);
    const ended = streamsEnded();
    const answer = await call({ method: "echo", params: { blob: "x".repeat(4 * MIB - 300) } });
    expect(answer).toMatchObject({ error: { message: expect.stringContaining("4194304") } });
    service.letGo();
    expect(await other).toEqual({ result: "answered" });
    expect(streamsEnded()).toBe(ended);
  });

  it("is told the limit when the answer is too large, and disturbs no other call", async () => {
    const other = call({ method: "held" });
    await service.isAsked(1);
    const ended = streamsEnded();
    const answer = await call({ method: "large", params: { size: 4 * MIB } });
    expect(answer).toMatchObject({ error: { message: expect.stringContaining("4194304") } });
    service.letGo();
    expect(await other).toEqual({ result: "answered" });
    expect(streamsEnded()).toBe(ended);
  });

  it("carries values that nest as deep as is allowed, and says so about deeper ones", async () => {
    expect(await call({ method: "deep", params: { size: 100 } })).toEqual({ result: nested(100) });
    const ended = streamsEnded();
    expect(await call({ method: "deep", params: { size: 150 } })).toMatchObject({
      error: { message: expect.stringContaining("nest 100 levels") },
    });
    expect(streamsEnded()).toBe(ended);
  });

  it("is answered whatever its id and its keys are", async () => {
    const params = JSON.parse(
      '{"__proto__": {"a": 1}, "constructor": null, "": [], "é\\n": 1e300}',
    );
    for (const id of ["\ud800", ")", "a\nb", "n:5", "nn:-1", "i".repeat(1_024), "__proto__"]) {
      const answer = await call({ method: "echo", params, id });
      const { _client, ...echoed } = (answer as { result: JsonObject }).result;
      expect(Object.entries(echoed)).toEqual(Object.entries(params));
    }
  });

  it("still gets its answer when the callee is asked to stop meanwhile", async () => {
    const answer = call({ method: "held" });
    await service.isAsked(1);
    const stopped = town.stop("hd-2");
    await town.said("hd-2", "stopping", ({ msg }) => msg === "stopping");
    service.letGo();
    expect(await answer).toEqual({ result: "answered" });
    expect(await stopped).toBe(0);
    await town.start("hd-2");
    await eventually(5_000, async () =>
      expect(await call({ method: "echo" })).toHaveProperty("result"),
    );
  });
});

describe("a certificate that the directory no longer pins", () => {
  const repin = async (operator: string): Promise<AsyncDisposable> => {
    const restore = await changeRecords("002_certificates.json", ({ name, data }) => {
      if (name !== operator) return;
      for (const pin of data) if (pin.key_usage === "encryption") pin.fingerprint = "0".repeat(64);
    });
    await town.setUp();
    return {
      async [Symbol.asyncDispose]() {
        await restore();
        await town.setUp();
        await eventually(5_000, async () => {
          expect(await fromHd1({ method: "echo" })).toHaveProperty("result");
          expect(await downTheStream({ method: "echo" })).toHaveProperty("result");
        });
      },
    };
  };

  it("is not trusted on a connection that is open already", async () => {
    expect(await fromHd1({ method: "echo" })).toHaveProperty("result");
    await using _ = await repin("hd-2");
    await eventually(5_000, async () => {
      expect(await fromHd1({ method: "echo" })).toHaveProperty("error");
    });
  });

  it("can ask for nothing on a reverse stream that is open already", async () => {
    expect(await downTheStream({ method: "echo" })).toHaveProperty("result");
    await using _ = await repin("public-proxy-1.ga");
    await eventually(5_000, async () => {
      expect(await downTheStream({ method: "echo" })).toHaveProperty("error");
    });
  });
});

describe("strangers", () => {
  const PORTS = [9_999, 8_888, 8_889, 5_556, 5_555, 5_544, 6_655, 3_322];
  const PING = async (): Promise<void> =>
    expect(await fromHd1({ method: "_ping" })).toHaveProperty("result");

  it("who talk nonsense and hang up anyhow disturb nobody", async () => {
    const sayings = [
      Buffer.alloc(0),
      Buffer.alloc(31, 1),
      Buffer.alloc(100_000, 0xff),
      Buffer.from("GET / HTTP/1.1\r\n\r\n"),
      Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
      Buffer.from("160301ffff01", "hex"),
    ];
    const visits = PORTS.flatMap((port) =>
      sayings.flatMap((bytes) =>
        (["end", "destroy", "resetAndDestroy"] as const).map(async (leave) => {
          const socket = await visit(town.port(port));
          socket.write(bytes, () => socket[leave]());
          await gone(socket);
        }),
      ),
    );
    await Promise.all(visits);
    await PING();
    for (const role of PING_ROLES) expect(failures(role), role).toEqual([]);
  });

  it("who show a token of their own are hung up on, and 1,000 who dribble are too", async () => {
    const port = town.port(9_999);
    const guesser = await visit(port);
    guesser.write(Buffer.alloc(32, 7));
    await gone(guesser);
    const dribblers = await Promise.all(Array.from({ length: 1_000 }, () => visit(port)));
    for (const socket of dribblers) socket.write("x");
    const turnedAway = dribblers.filter((socket) => socket.closed).length;
    await until(
      () => dribblers.filter((socket) => socket.closed).length >= 744,
      () => `all but 256 of one source are turned away (${turnedAway} were at first)`,
    );
    await PING();
    await Promise.all(dribblers.map(gone)); // the others when the time for their hello is up
  });

  async function visit(port: number): Promise<Socket> {
    const socket = connect(port, "127.0.0.1");
    socket.on("error", () => {}).resume();
    await Promise.race([once(socket, "connect"), once(socket, "close")]);
    return socket;
  }

  async function gone(socket: Socket): Promise<void> {
    await until(() => socket.closed, "the socket is closed");
  }
});

describe("a hundred calls at once", () => {
  it.each(["hd-2", "public-proxy-1", "public-proxy-eps-1"])(
    "all end while %s crashes and comes back",
    async (role) => {
      await using client = await town.client({
        role: "hd-1",
        port: GATEWAY["hd-1"],
        as: "hd-1",
      });
      let back = false;
      const callers = Array.from({ length: 100 }, async (_, caller) => {
        for (let n = 0; ; n += 1) {
          const id = `${caller}/${n}`;
          const answer = await client.call({ method: "hd-2._ping", params: { id }, id });
          if ("result" in answer) {
            expect(answer.result).toMatchObject({ params: { id } });
            if (back) return;
          } else {
            expect(answer.error.message).toMatch(/^Channel \w+ encountered/);
            await sleep(50); // leaves the machine to whoever comes back
          }
        }
      });
      await town.stop(role, "SIGKILL");
      await town.start(role);
      back = true;
      await Promise.all(callers);
    },
  );

  it("left no crash, no warning and no secret in any log", async () => {
    for (const role of PING_ROLES) {
      expect(failures(role), role).toEqual([]);
      const log = await readFile(town.program(role).log_file, "utf8");
      expect(log).not.toMatch(/[A-Za-z0-9+/]{43}=|PRIVATE KEY|"token":/);
    }
  });
});

/** What a program said that is no log line, such as a crash or a warning of Node's, and its errors. */
function failures(role: string): unknown[] {
  return town
    .program(role)
    .lines()
    .filter(({ level }) => ["raw", "error", "fatal"].includes(level));
}
