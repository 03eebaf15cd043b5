import { once } from "node:events";
import { connect, createServer } from "node:net";
import { afterEach, expect, it } from "vitest";
import {
  contents,
  entry,
  openStoreAt,
  type Redis,
  startRedis,
  texts,
} from "../../support/redis.ts";
import { describeWith } from "../../support/tools.ts";
import { until } from "../../support/until.ts";

const running: Array<{ clear(): Promise<void> }> = [];
const start = async (...how: Parameters<typeof startRedis>): Promise<Redis> => {
  const redis = await startRedis(...how);
  running.push(redis);
  return redis;
};
afterEach(async () => {
  await Promise.all(running.splice(0).map((each) => each.clear()));
});

describeWith(["redis-server"], "a redis that goes away", () => {
  it("may be killed at any time without losing or doubling what was acknowledged", async () => {
    const redis = await start(["appendonly yes", "appendfsync always", 'save ""']);
    await using store = await openStoreAt(redis.address);
    const acknowledged: string[] = [];
    const refused: string[] = [];
    let finished = false;
    const appending = (async () => {
      for (let batch = 0; !finished; batch += 1) {
        const names = [`${batch}/0`, `${batch}/1`];
        await store.append(names.map((text) => entry(text))).then(
          () => acknowledged.push(...names),
          (reason) => {
            expect(reason.message).toMatch(/^nothing was stored/);
            refused.push(...names);
          },
        );
      }
    })();
    for (let round = 1; round <= 5; round += 1) {
      const enough = acknowledged.length + round * 30;
      await until(() => acknowledged.length > enough, "entries are acknowledged");
      await redis.kill();
      await redis.start();
    }
    finished = true;
    await appending;
    expect(await contents(redis)).toEqual(acknowledged);
    expect(texts(await store.read())).toEqual(acknowledged);
    expect(refused.length).toBeLessThanOrEqual(10);
  });

  it("is noticed when it comes back empty", async () => {
    const redis = await start();
    await using store = await openStoreAt(redis.address);
    await store.append([entry("a")]);
    await redis.kill();
    await redis.start();
    await expect(store.append([entry("b")])).rejects.toMatchObject({ fault: "conflict" });
  });

  it("is not waited for when the store closes", async () => {
    const redis = await start();
    const store = await openStoreAt(redis.address);
    await redis.kill();
    const appended = expect(store.append([entry("a")])).rejects.toMatchObject({
      fault: "unreachable",
      message: expect.stringMatching(/^nothing was stored: redis does not answer/),
    });
    await store[Symbol.asyncDispose]();
    await appended;
  });

  it("has a deadline when it hangs", async () => {
    const redis = await start();
    const store = await openStoreAt(redis.address);
    redis.signal("SIGSTOP");
    const appended = expect(store.append([entry("a")])).rejects.toMatchObject({
      message: expect.stringMatching(/^nothing was stored/),
    });
    await store[Symbol.asyncDispose]();
    await appended;
  });
});

describeWith(["redis-server"], "a redis that refuses an append", () => {
  it("for want of memory says so, and takes the same batch when there is some", async () => {
    const redis = await start();
    await using store = await openStoreAt(redis.address);
    await store.append([entry("a")]);
    await redis.say("CONFIG", "SET", "maxmemory", "1");
    await expect(store.append([entry("b"), entry("c")])).rejects.toMatchObject({
      fault: "failed",
      message: "nothing was stored: redis has no memory left; raise maxmemory",
    });
    await redis.say("CONFIG", "SET", "maxmemory", "0");
    await store.append([entry("b"), entry("c")]);
    expect(texts(await store.read())).toEqual(["a", "b", "c"]);
  });

  it("because it is a replica says so, and can be read all the same", async () => {
    const config = ['save ""', "repl-diskless-sync-delay 0"];
    const master = await start(config);
    const replica = await start([...config, `replicaof 127.0.0.1 ${master.port}`]);
    await using store = await openStoreAt(master.address);
    await store.append([entry("a")]);
    await until(async () => (await contents(replica)).length === 1, "the replica has it");
    await using copy = await openStoreAt(replica.address);
    await expect(copy.append([entry("b")])).rejects.toMatchObject({
      message: expect.stringMatching(/^nothing was stored: redis is a read-only replica/),
    });
    expect(texts(await copy.read())).toEqual(["a"]);
    expect(await contents(master)).toEqual(["a"]);
  });
});

describeWith(["redis-server"], "a connection lost in the middle of an append", () => {
  /**
   * A way to Redis that is cut once, when RPUSH comes along it. `delivery` is what becomes of that
   * RPUSH: it arrives, half of it does, it is lost, or it waits until `deliver` is called.
   */
  const cutting = async (redis: Redis, delivery: "arrives" | "half" | "lost" | "late") => {
    let deliver = (): void => {};
    let cut = false;
    const server = createServer((socket) => {
      const upstream = connect(redis.port, "127.0.0.1");
      const close = (): void => {
        socket.destroy();
        if (!cut || delivery !== "late") upstream.destroy();
      };
      for (const each of [socket, upstream]) each.on("error", () => {}).on("close", close);
      upstream.on("data", (bytes) => socket.write(bytes));
      socket.on("data", (bytes) => {
        if (cut || !bytes.includes("RPUSH")) return upstream.write(bytes);
        cut = true;
        upstream.removeAllListeners("data").resume();
        deliver = () => upstream.end(bytes);
        if (delivery === "lost") return close();
        if (delivery === "half") return upstream.write(bytes.subarray(0, bytes.length / 2), close);
        if (delivery === "late") return socket.destroy();
        return upstream.write(bytes, () => upstream.once("data", close));
      });
    }).listen(0, "127.0.0.1");
    await once(server, "listening");
    running.push({ clear: async () => void server.close() });
    const { port } = server.address() as { port: number };
    return { address: `127.0.0.1:${port}`, server, deliver: () => deliver() };
  };

  it("is no failure when the entries are there", async () => {
    const redis = await start();
    await using store = await openStoreAt((await cutting(redis, "arrives")).address);
    await store.append([entry("a"), entry("b")]);
    await store.append([entry("c")]);
    expect(await contents(redis)).toEqual(["a", "b", "c"]);
    expect(texts(await store.read())).toEqual(["a", "b", "c"]);
  });

  it.each(["lost", "half"] as const)(
    "is one that says that nothing was stored, when nothing was: %s",
    async (delivery) => {
      const redis = await start();
      await using store = await openStoreAt((await cutting(redis, delivery)).address);
      await expect(store.append([entry("a"), entry("b")])).rejects.toMatchObject({
        fault: "unreachable",
        message: expect.stringMatching(/^nothing was stored: .*try again$/),
      });
      await store.append([entry("a"), entry("b")]);
      expect(await contents(redis)).toEqual(["a", "b"]);
    },
  );

  it("is found out when the entries arrive after all", async () => {
    const redis = await start();
    const way = await cutting(redis, "late");
    await using store = await openStoreAt(way.address);
    await expect(store.append([entry("a")])).rejects.toThrow("nothing was stored");
    way.deliver();
    await until(async () => (await contents(redis)).length === 1, "it arrived");
    await expect(store.append([entry("a")])).rejects.toMatchObject({ fault: "conflict" });
    expect(texts(await store.read())).toEqual(["a"]);
    await store.append([entry("b")]);
    expect(await contents(redis)).toEqual(["a", "b"]);
  });

  it("leaves an outcome that is called unknown when nobody can look", async () => {
    const redis = await start();
    const way = await cutting(redis, "arrives");
    const store = await openStoreAt(way.address);
    way.server.close();
    const appended = expect(store.append([entry("a")])).rejects.toMatchObject({
      fault: "timeout",
      message: expect.stringMatching(/^it is not known whether the entries were stored/),
    });
    await store[Symbol.asyncDispose]();
    await appended;
    expect(await contents(redis)).toEqual(["a"]);
  });
});
