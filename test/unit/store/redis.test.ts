import { once } from "node:events";
import { createServer } from "node:net";
import { afterEach, expect, it } from "vitest";
import { explain } from "../../../src/core/fault.ts";
import type { Store } from "../../../src/store/store.ts";
import {
  contents,
  element,
  entry,
  freePort,
  openStoreAt,
  type Redis,
  startRedis,
  texts,
} from "../../support/redis.ts";
import { describeWith } from "../../support/tools.ts";
import { until } from "../../support/until.ts";

// The entry in the example of eps-protocol 9.1.
const VECTOR = Buffer.from("01011000303132333435363738396162636465667b2261223a317d", "hex");
const VECTOR_ENTRY = {
  type: 1,
  id: Buffer.from("0123456789abcdef"),
  data: Buffer.from('{"a":1}'),
};

const running: Array<{ clear(): Promise<void> }> = [];
const start = async (...how: Parameters<typeof startRedis>): Promise<Redis> => {
  const redis = await startRedis(...how);
  running.push(redis);
  return redis;
};
afterEach(async () => {
  await Promise.all(running.splice(0).map((each) => each.clear()));
});

describeWith(["redis-server"], "the list in redis", () => {
  it("holds the bytes of the original, written [stores 2]", async () => {
    const redis = await start();
    await using store = await openStoreAt(redis.address);
    await store.append([VECTOR_ENTRY]);
    await store.append([{ type: 2, id: Buffer.alloc(0), data: Buffer.from([0, 13, 10, 255]) }]);
    expect(await redis.say("LRANGE", "entries", "0", "-1")).toEqual(
      Buffer.concat([
        Buffer.from("*2\r\n$27\r\n"),
        VECTOR,
        Buffer.from("\r\n$8\r\n"),
        Buffer.from("01020000000d0aff", "hex"),
        Buffer.from("\r\n"),
      ]),
    );
  });

  it("holds the bytes of the original, read, before and after it was opened [stores 2]", async () => {
    const redis = await start();
    await redis.say("RPUSH", "entries", VECTOR);
    await using store = await openStoreAt(redis.address);
    expect(await store.read()).toEqual([VECTOR_ENTRY]);
    await redis.say("RPUSH", "entries", element("b"), element("c"));
    expect(texts(await store.read())).toEqual(["b", "c"]);
  });

  it("is the one in our database, under our key", async () => {
    const redis = await start();
    await using store = await openStoreAt(redis.address, { database: 3, key: "sd-entries" });
    await store.append([entry("a")]);
    expect(String(await redis.say("INFO", "keyspace"))).toContain("db3:keys=1,");
    expect(String(await redis.say("INFO", "keyspace"))).not.toContain("db0");
    expect(String(await redis.say("EXISTS", "sd-entries"))).toBe(":0\r\n");
  });

  it("may be longer than what is fetched at once", async () => {
    const redis = await start();
    const all = Array.from({ length: 1_000 }, (_, i) => String(i));
    await redis.say("RPUSH", "entries", ...all.map(element));
    await using store = await openStoreAt(redis.address);
    expect(texts(await store.read())).toEqual(all);
  });

  it("is shared with other writers, and no batch is torn", async () => {
    const redis = await start();
    await using one = await openStoreAt(redis.address);
    await using other = await openStoreAt(redis.address);
    const batches = Array.from({ length: 20 }, (_, i) => [`${i} first`, `${i} second`]);
    await Promise.all(
      batches.map((batch, i) => (i % 2 ? one : other).append(batch.map((text) => entry(text)))),
    );
    const found = texts(await one.read());
    expect(texts(await other.read())).toEqual(found);
    expect([...found].sort()).toEqual(batches.flat().sort());
    for (const [first = "", second] of batches)
      expect(found[found.indexOf(first) + 1]).toBe(second);
  });

  it("is not read further than something that is no entry", async () => {
    const redis = await start();
    await redis.say("RPUSH", "entries", VECTOR, "hello");
    await using store = await openStoreAt(redis.address);
    await expect(store.read()).rejects.toMatchObject({
      fault: "malformed",
      message: expect.stringContaining("element 1 of the list"),
    });
    await redis.say("LSET", "entries", "1", element("b"));
    expect(texts(await store.read())).toEqual(['{"a":1}', "b"]);
  });

  it("is noticed when somebody empties it, until it is put back", async () => {
    const redis = await start();
    await using store = await openStoreAt(redis.address);
    await store.append([entry("a"), entry("b")]);
    await store.read();
    await redis.say("FLUSHALL");
    const gone = { fault: "conflict", message: expect.stringContaining("emptied or restored") };
    await expect(store.read()).rejects.toMatchObject(gone);
    await expect(store.append([entry("c")])).rejects.toMatchObject(gone);
    expect(await contents(redis)).toEqual([]);

    await redis.say("RPUSH", "entries", element("a"), element("b"));
    await store.append([entry("c")]);
    expect(texts(await store.read())).toEqual(["c"]);
  });
});

describeWith(["redis-server"], "opening a redis store", () => {
  const refused = async (opening: Promise<Store>): Promise<Record<string, unknown>> => {
    const reason = await opening.then(
      () => expect.unreachable("it opened"),
      (reason) => reason,
    );
    expect(explain(reason)).not.toContain("hunter");
    return { fault: reason.fault, message: reason.message };
  };

  it.each([
    ["the password is wrong", "hunter2", "hunter3", "refuses the password"],
    ["the password is missing", "hunter2", "", "wants a password"],
    ["there is no password", "", "hunter2", "has no password"],
  ])("says so when %s", async (_, theirs, ours, message) => {
    const redis = await start(theirs ? ['save ""', `requirepass ${theirs}`] : undefined);
    expect(await refused(openStoreAt(redis.address, { password: ours }))).toEqual({
      fault: "settings",
      message: expect.stringContaining(message),
    });
  });

  it("works with the right password", async () => {
    const redis = await start(['save ""', "requirepass hunter2"]);
    await using store = await openStoreAt(redis.address, { password: "hunter2" });
    await store.append([entry("a")]);
    expect(texts(await store.read())).toEqual(["a"]);
  });

  it("names the addresses when nobody listens", async () => {
    const address = `localhost:${await freePort()}`;
    const expected = { fault: "unreachable", message: expect.stringContaining(address) };
    expect(await refused(openStoreAt(address))).toEqual(expected);
    expect(await refused(openStoreAt([address, address]))).toEqual(expected);
    expect(await refused(openStoreAt([address], { master_name: "main" }))).toEqual(expected);
  });

  it("gives up on a server that says nothing", async () => {
    const server = createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    server.on("connection", (socket) => socket.resume());
    const { port } = server.address() as { port: number };
    expect(await refused(openStoreAt(`127.0.0.1:${port}`, { password: "hunter2" }))).toEqual({
      fault: "unreachable",
      message: expect.stringContaining("took longer than"),
    });
    await once(server.close(), "close"); // which it does only when no connection is left
  });

  it.each([
    ["the key is no list", { key: "text" }, "choose another key"],
    ["the database does not exist", { database: 99 }, "no such database"],
  ])("says so when %s", async (_, settings, message) => {
    const redis = await start();
    await redis.say("SET", "text", "x");
    expect(await refused(openStoreAt(redis.address, settings))).toEqual({
      fault: "settings",
      message: expect.stringContaining(message),
    });
  });

  it("says so when several addresses are no cluster", async () => {
    const { address } = await start();
    expect(await refused(openStoreAt([address, address]))).toEqual({
      fault: "settings",
      message: expect.stringContaining("several addresses mean a cluster"),
    });
  });
});

describeWith(["redis-server"], "several redis servers", () => {
  it("are found through their sentinels, also after a failover", async () => {
    const config = ['save ""', "appendonly no", "repl-diskless-sync-delay 0"];
    const master = await start(config);
    const replica = await start([...config, `replicaof 127.0.0.1 ${master.port}`]);
    const sentinel = await start(
      [
        `sentinel monitor main 127.0.0.1 ${master.port} 1`,
        "sentinel down-after-milliseconds main 300",
        "sentinel failover-timeout main 3000",
      ],
      { sentinel: true },
    );
    const nobody = `127.0.0.1:${await freePort()}`;
    await using store = await openStoreAt([nobody, sentinel.address], { master_name: "main" });
    await store.append([entry("a")]);
    await until(async () => (await contents(replica)).length === 1, "the replica has it");
    const known = async () => String(await sentinel.say("SENTINEL", "REPLICAS", "main"));
    await until(async () => (await known()).includes(String(replica.port)), "the replica is known");

    await master.kill();
    await store.append([entry("b")]);
    expect(await contents(replica)).toEqual(["a", "b"]);
    await expect(openStoreAt([sentinel.address], { master_name: "other" })).rejects.toMatchObject({
      fault: "settings",
      message: expect.stringContaining('know no master_name "other"'),
    });
  });

  it("are a cluster when there are several addresses", async () => {
    const bus = String(await freePort());
    const cluster = ['save ""', "cluster-enabled yes"];
    const one = await start([...cluster, `cluster-port ${await freePort()}`]);
    const two = await start([...cluster, `cluster-port ${bus}`]);
    await one.say("CLUSTER", "ADDSLOTSRANGE", "0", "8191");
    await two.say("CLUSTER", "ADDSLOTSRANGE", "8192", "16383");
    await one.say("CLUSTER", "MEET", "127.0.0.1", String(two.port), bus);
    const ready = async (redis: Redis): Promise<boolean> =>
      /cluster_state:ok[\s\S]*cluster_known_nodes:2/.test(
        String(await redis.say("CLUSTER", "INFO")),
      );
    await until(async () => (await ready(one)) && (await ready(two)), "the cluster is ready");

    // "entries" belongs to one of them, and "other" to the other.
    for (const key of ["entries", "other"]) {
      await using store = await openStoreAt([one.address, two.address], { key });
      await store.append([entry("a"), entry("b")]);
      expect(texts(await store.read())).toEqual(["a", "b"]);
    }
    const sizes = await Promise.all([one.say("DBSIZE"), two.say("DBSIZE")]);
    expect(sizes.map(String)).toEqual([":1\r\n", ":1\r\n"]);

    const alone = await Promise.allSettled([openStoreAt(one.address), openStoreAt(two.address)]);
    expect(alone.find(({ status }) => status === "rejected")).toMatchObject({
      reason: {
        fault: "settings",
        message: expect.stringContaining("list several of its addresses"),
      },
    });
    for (const each of alone) {
      if (each.status === "fulfilled") await each.value[Symbol.asyncDispose]();
    }
  });
});
