import { once } from "node:events";
import { connect, type Socket } from "node:net";
import type { Logger } from "pino";
import { afterEach, describe, expect, it } from "vitest";
import { openMetrics } from "../../src/core/metrics.ts";
import { Scope } from "../../src/core/scope.ts";
import { acceptTls, connectTls, readTls } from "../../src/net/tls.ts";
import { Circuits } from "../../src/relay/circuits.ts";
import { tokenOf } from "../../src/relay/doors/token.ts";
import type { Engine } from "../../src/relay/engine.ts";
import { RelayEvents } from "../../src/relay/events.ts";
import type { Leg, Side } from "../../src/relay/leg.ts";
import { Pairs } from "../../src/relay/rendezvous/pair.ts";
import { alert } from "../../src/wire/client-hello.ts";
import { Authority } from "../support/certificates.ts";
import { circuitLimits, engines } from "../support/engines.ts";
import { until } from "../support/until.ts";
import { Ear } from "../support/wires.ts";

const STRANGERS_MAX = 600;
const PER_SOURCE_MAX = 40;
const NAMES = { caller: "hd-1", callee: "hd-2", request: "r1" };

/** A relay as a public proxy has it, and a log of which every line is kept. */
class Relay {
  readonly scope = new Scope();
  readonly lines: Array<{ level: string; text: string }> = [];
  readonly metrics = openMetrics();
  readonly pairs: Pairs<Leg>;
  readonly circuits: Circuits;
  ports = { token: 0, sni: 0 };

  private constructor(engine: Engine) {
    this.scope.use(engine);
    const told = (level: string) => (fields: unknown, message?: string) =>
      void this.lines.push({ level, text: `${JSON.stringify(fields)} ${message ?? ""}` });
    const levels = ["debug", "info", "warn", "error"];
    const log = Object.fromEntries(levels.map((each) => [each, told(each)])) as unknown as Logger;
    const events = new RelayEvents({ log, metrics: this.metrics });
    this.circuits = this.scope.use(
      new Circuits(circuitLimits({ circuits_max: 100, drain_timeout_ms: 0 }), { engine, events }),
    );
    this.pairs = new Pairs<Leg>(
      { patience_ms: 60_000, pending_max: 100, pending_per_caller_max: 100 },
      { met: ({ names }, legs) => this.circuits.add({ names, legs }), lonely: () => {} },
    );
    this.scope.defer(() => {
      for (const { line } of this.pairs.clear()) line.hangUp();
    });
    this.#open = async (hello_timeout_ms) => {
      const settings = {
        bind: "127.0.0.1:0",
        setting: "test",
        hello_timeout_ms,
        strangers_max: STRANGERS_MAX,
        strangers_per_source_max: PER_SOURCE_MAX,
      };
      const token = await engine.openDoor("token", settings, { events }, (secret, leg) => {
        if (!this.pairs.seat(tokenOf(secret), leg)) leg.line.hangUp();
      });
      const sni = await engine.openDoor("sni", settings, { events }, (_, { line }) =>
        line.hangUp(alert("unrecognized_name")),
      );
      this.ports = { token: this.scope.use(token).port, sni: this.scope.use(sni).port };
    };
  }
  readonly #open: (hello_timeout_ms: number) => Promise<void>;

  static async open(engine: Engine, { hello_timeout_ms = 60_000 } = {}): Promise<Relay> {
    const relay = new Relay(engine);
    await relay.#open(hello_timeout_ms);
    return relay;
  }
}

describe.each(engines)("the doors of a relay, $name", ({ open: openEngine }) => {
  const sockets: Socket[] = [];
  const relays: Relay[] = [];
  afterEach(async () => {
    for (const socket of sockets.splice(0)) socket.destroy();
    for (const { scope } of relays.splice(0)) await scope[Symbol.asyncDispose]();
  });

  async function open(settings = {}): Promise<Relay> {
    const relay = await Relay.open(await openEngine(), settings);
    relays.push(relay);
    return relay;
  }

  /** Comes from any address of 127.0.0.0/8, as Linux lets everybody. */
  async function knock(port: number, localAddress = "127.0.0.1"): Promise<Socket> {
    const socket = connect({ port, host: "127.0.0.1", localAddress });
    sockets.push(socket.on("error", () => {}));
    await new Promise((resolve) => socket.once("connect", resolve).once("close", resolve));
    return socket;
  }

  async function meet({ pairs, ports }: Relay, from = "127.0.9.9"): Promise<Record<Side, Socket>> {
    const { tokens } = pairs.expect(NAMES);
    const [caller, callee] = [await knock(ports.token, from), await knock(ports.token, from)];
    caller.write(Buffer.concat([tokens.caller, Buffer.from("ping")]));
    callee.write(tokens.callee);
    expect(`${await new Ear(callee).hears(4)}`).toBe("ping");
    return { caller, callee };
  }

  it("let a good pair through while a thousand are silent or dribble (T7, T9)", async () => {
    const relay = await open();
    const crowd: Socket[] = [];
    const inside = async (): Promise<number> => {
      const told = await relay.metrics.getSingleMetricAsString("eps_broker_strangers");
      return Number(/door="token"} (\d+)/.exec(told)?.[1]);
    };
    for (let source = 1; source <= 10; source += 1) {
      const some = Array.from({ length: 100 }, () => knock(relay.ports.token, `127.0.1.${source}`));
      crowd.push(...(await Promise.all(some)));
    }
    for (const [index, socket] of crowd.entries()) if (index % 2) socket.write("x");
    const left = (): number => crowd.filter(({ closed }) => !closed).length;
    for (const socket of crowd) socket.resume();
    await until(
      () => left() === 10 * PER_SOURCE_MAX,
      () => `each source has ${PER_SOURCE_MAX} strangers inside (all have ${left()})`,
    );
    await meet(relay);
    // Twice as many sources: then it is all strangers that are too many, and nobody new comes in …
    for (let source = 11; source <= 20; source += 1) {
      const some = Array.from({ length: 40 }, () => knock(relay.ports.token, `127.0.1.${source}`));
      crowd.push(...(await Promise.all(some)));
    }
    for (const socket of crowd) socket.resume();
    await until(() => left() === STRANGERS_MAX, "all strangers are no more than the limit");
    // … until some have gone.
    for (const socket of crowd.splice(0, 200)) socket.destroy();
    await until(async () => (await inside()) < STRANGERS_MAX, "there is room");
    await meet(relay);
  });

  it("hang up on whoever has not said its hello in time, however it dribbles (T7)", async () => {
    const relay = await open({ hello_timeout_ms: 400 });
    const strangers = await Promise.all(
      Object.values(relay.ports).flatMap((port) => [knock(port), knock(port), knock(port)]),
    );
    const timer = setInterval(() => {
      for (const socket of strangers.filter((_, index) => index % 3)) socket.write("\x16");
    }, 50);
    try {
      for (const socket of strangers) socket.resume();
      await until(() => strangers.every(({ closed }) => closed), "all are closed");
    } finally {
      clearInterval(timer);
    }
  });

  it("take no more from a leg that waits than the kernel holds for it (T8)", async () => {
    const relay = await open();
    const { tokens } = relay.pairs.expect(NAMES);
    const eager = await knock(relay.ports.token);
    eager.write(tokens.caller);
    const piece = Buffer.alloc(64 * 1024, 1);
    let offered = 0;
    while (offered < 64 * 1024 ** 2) {
      eager.write(piece);
      offered += piece.length;
    }
    // What was taken from us has stopped growing, far below what we offer.
    let taken = -1;
    await until(async () => {
      const before = taken;
      taken = offered - eager.writableLength;
      await new Promise((resolve) => setTimeout(resolve, 100));
      return taken === before;
    }, "the relay takes no more");
    expect(taken).toBeLessThan(16 * 1024 ** 2);
    // And none of it is lost.
    const callee = await knock(relay.ports.token);
    callee.write(tokens.callee);
    const ear = new Ear(callee);
    await ear.hears(offered);
    expect(ear.size).toBe(offered);
  });

  it("give a thief of a token a handshake that fails, and the victim the next token (T2)", async () => {
    await using authority = await Authority.open();
    await using strangers = await Authority.open();
    const relay = await open();
    const [mine, thiefs, hers] = [
      await authority.issue("hd-1"),
      await strangers.issue("hd-1"),
      await authority.issue("hd-2"),
    ];
    let secured = 0;
    let failed = "";
    await using acceptor = acceptTls(
      await readTls(hers),
      { ...hers, alpn: ["h2"] },
      {
        secured: (socket) => {
          secured += 1;
          socket.end("hello");
        },
        failed: (reason) => {
          failed = reason;
        },
      },
    );
    const arrive = async (): Promise<Buffer> => {
      const { tokens } = relay.pairs.expect(NAMES);
      const callee = await knock(relay.ports.token);
      callee.write(tokens.callee, () => acceptor.accept(callee));
      return tokens.caller;
    };
    const signal = new AbortController().signal;
    const stolen = await arrive();

    // The thief was faster. It is the relay's leg, and nobody's to hd-2.
    const thief = await knock(relay.ports.token);
    thief.write(stolen);
    const papers = { ...(await readTls(thiefs)), ca: (await readTls(mine)).ca };
    const shaken = await connectTls(
      thief,
      papers,
      { name: "hd-2", skip_verify: true },
      signal,
    ).then(
      (socket) => once(socket.resume(), "close"),
      () => undefined,
    );
    await until(() => failed !== "", "hd-2 refuses the thief");
    expect([secured, shaken?.length ?? 0]).toEqual([0, expect.any(Number)]);

    // The victim finds its token used, which costs it this attempt, and no more than that.
    const late = await knock(relay.ports.token);
    late.write(stolen);
    await until(() => late.resume().closed, "the token works only once");
    const victim = await knock(relay.ports.token);
    victim.write(await arrive());
    const socket = await connectTls(
      victim,
      await readTls(mine),
      { name: "hd-2", skip_verify: false },
      signal,
    );
    expect(`${await new Ear(socket).hears(5)}`).toBe("hello");
    expect(secured).toBe(1);
  });

  it("say nothing above debug about strangers, and count them with labels that they cannot choose (T23)", async () => {
    const relay = await open({ hello_timeout_ms: 500 });
    const series = async (): Promise<string[]> =>
      (await relay.metrics.metrics())
        .split("\n")
        .filter((line) => line && !line.startsWith("#"))
        .map((line) => line.replace(/ \S+$/, ""));
    const visit = async (n: number): Promise<void> => {
      const door = n % 2 ? relay.ports.sni : relay.ports.token;
      const socket = await knock(door, `127.0.${1 + (n % 50)}.${1 + (n % 90)}`);
      socket.end(n % 3 ? Buffer.alloc(32, n) : hello(`canary-${n}.example`));
      socket.resume();
      await until(() => socket.closed, "the stranger is gone");
    };
    await Promise.all(Array.from({ length: 60 }, (_, n) => visit(n)));
    const before = await series();
    await Promise.all(Array.from({ length: 400 }, (_, n) => visit(n)));
    expect(await series()).toEqual(before);
    expect(before.join("\n")).not.toMatch(/canary|127\.0\./);
    expect(relay.lines.filter(({ level }) => level !== "debug")).toEqual([]);
  });
});

/** A ClientHello that says nothing but a name. */
function hello(name: string): Buffer {
  const list = Buffer.concat([Buffer.from([0, 0, name.length]), Buffer.from(name)]);
  list.writeUInt16BE(name.length, 1);
  const names = Buffer.concat([sized(2, list)]);
  const extensions = sized(2, Buffer.concat([Buffer.from([0, 0]), sized(2, names)]));
  const body = Buffer.concat([
    Buffer.from([3, 3]),
    Buffer.alloc(32, 1),
    Buffer.from([0, 0, 2, 0x13, 1, 1, 0]),
    extensions,
  ]);
  const message = Buffer.concat([Buffer.from([1]), sized(3, body)]);
  return Buffer.concat([Buffer.from([22, 3, 1]), sized(2, message)]);
}

function sized(size: number, bytes: Buffer): Buffer {
  const head = Buffer.alloc(size);
  head.writeUIntBE(bytes.length, 0, size);
  return Buffer.concat([head, bytes]);
}
