import type { Socket } from "node:net";
import { type Metrics, openMetrics } from "../../src/core/metrics.ts";
import { Circuits } from "../../src/relay/circuits.ts";
import type { EntranceTls } from "../../src/relay/doors/entrance.ts";
import type { Engine } from "../../src/relay/engine.ts";
import { RelayEvents } from "../../src/relay/events.ts";
import { openPoolRelay, type PoolRelay } from "../../src/relay/pool/relay.ts";
import type { PoolTerms } from "../../src/relay/rendezvous/pool-terms.ts";
import type { GateSettings } from "../../src/relay/zmtp/gate.ts";
import { circuitLimits } from "./engines.ts";
import { samples } from "./metrics.ts";
import { field, fieldsOf, whole } from "./protobuf.ts";
import { until } from "./until.ts";
import { dialFreely, Ear, say } from "./wires.ts";

/** Limits that a test does not reach, and the ways of RelayServer, except for what a test names. */
const TERMS = {
  policies: ["fifo"] as PoolTerms["policies"],
  queue_max: 0,
  patience_ms: 20_000,
  queue_per_source_max: 1_000,
  offers_max: 1_000,
  offers_per_owner_max: 1_000,
  needs_listener: true,
  failures_max: 3,
  rest_ms: 10_000,
};
const STRANGERS = {
  hello_timeout_ms: 20_000,
  strangers_max: 1_000,
  strangers_per_source_max: 1_000,
  rate_limits: undefined as Array<{ type: "minute"; limit: number }> | undefined,
};

type Wanted = {
  terms?: Partial<typeof TERMS>;
  strangers?: Partial<typeof STRANGERS>;
  tokens?: string[];
  tls?: EntranceTls;
  gate?: GateSettings;
  /** Opens the port of servers without an agent. */
  worker?: boolean;
  listeners_max?: number;
};

type Line = { msg: string; [field: string]: unknown };

/** `length:4 message` of RelayServer, by hand. */
export function message(...fields: Buffer[]): Buffer {
  const body = Buffer.concat(fields);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(body.length);
  return Buffer.concat([length, body]);
}

type Greeting = { version?: number; service?: string; owner?: string; token?: string };

export function hello({ version = 1, service, owner, token }: Greeting = {}): Buffer {
  const texts = [service, owner, token].map((each, i) => (each ? [field(11 + i, each)] : []));
  return message(whole(1, version), ...texts.flat());
}

/** The relay of a pool in this process, and peers that are written from the specification only. */
export class PoolBed implements AsyncDisposable {
  readonly relay: PoolRelay;
  /** What was logged, in order. */
  readonly lines: Line[];
  readonly #circuits: Circuits;
  readonly #metrics: Metrics;
  readonly #sockets: Socket[] = [];

  private constructor(
    { relay, circuits, metrics }: { relay: PoolRelay; circuits: Circuits; metrics: Metrics },
    lines: Line[],
  ) {
    this.relay = relay;
    this.#circuits = circuits;
    this.#metrics = metrics;
    this.lines = lines;
  }

  static async open(engine: Engine, wanted: Wanted = {}): Promise<PoolBed> {
    const lines: Line[] = [];
    const note = (fields: object, msg: string): void => void lines.push({ ...fields, msg });
    const log = { debug: note, info: note, warn: note, error: note } as never;
    const metrics = openMetrics();
    const events = new RelayEvents({ log, metrics });
    const circuits = new Circuits(circuitLimits({ drain_timeout_ms: 0 }), { engine, events });
    const terms = { ...TERMS, ...wanted.terms };
    const door = { ...STRANGERS, ...wanted.strangers, bind: "127.0.0.1:0", setting: "test" };
    const relay = await openPoolRelay(
      {
        terms: { pool: "ssh", tokens: wanted.tokens ?? [] },
        ports: {
          data: door,
          command: door,
          client: door,
          worker: wanted.worker ? door : undefined,
        },
        tls: wanted.tls,
        gate: wanted.gate,
        pools: { pool: () => terms, offers_max: 1_000, queue_max: 1_000 },
        listeners_max: wanted.listeners_max ?? 1_000,
      },
      { engine, circuits, events },
    );
    const bed = new PoolBed({ relay, circuits, metrics }, lines);
    events.watchPool("ssh", () => relay.count);
    return bed;
  }

  /** Says something at a port and hears how it is hung up on. */
  async isTurnedAway(port: "data" | "command", said: Buffer): Promise<string> {
    const socket = await this.dial(port);
    const ear = new Ear(socket);
    socket.write(said);
    const ending = await ear.hearsTheEnd();
    return `${ear.size} bytes, ${ending === "ECONNRESET" ? "end" : ending}`;
  }

  async dial(port: "data" | "command" | "client" | "worker", from?: string): Promise<Socket> {
    const socket = await dialFreely(this.relay.ports[port] ?? 0, from);
    this.#sockets.push(socket);
    return socket;
  }

  /** A server's connection that waits, and the number it was told. */
  async host(said = hello(), from?: string): Promise<Host> {
    const socket = await this.dial("data", from);
    const ear = new Ear(socket);
    await say(socket, said);
    const length = (await ear.hears(4)).readUInt32BE(0);
    const [session, host, port] = fieldsOf((await ear.hears(4 + length)).subarray(4, 4 + length));
    return {
      socket,
      ear,
      session: Number(session?.value),
      relay: `${host?.value}:${port?.value}`,
      /** What its client says, which begins behind the answer to its hello. */
      heard: async (size) => (await ear.hears(4 + length + size)).subarray(4 + length),
    };
  }

  async client(from?: string): Promise<{ socket: Socket; ear: Ear }> {
    const socket = await this.dial("client", from);
    return { socket, ear: new Ear(socket) };
  }

  /** Hears what becomes of connections. Resolves once the relay has taken notice of it. */
  async listen(said?: Buffer, from?: string): Promise<Commands> {
    const socket = await this.dial("command", from);
    if (said) await say(socket, said);
    return new Commands(socket);
  }

  /** Waits until so many wait, ask and are paired. */
  async counts(offers: number, demands: number, matches: number): Promise<void> {
    const text = (): string => Object.values(this.relay.count).slice(0, 3).join(" ");
    await until(
      () => text() === `${offers} ${demands} ${matches}`,
      () => `there are ${offers} ${demands} ${matches} (there are ${text()})`,
    );
  }

  async samples(): Promise<Map<string, number>> {
    return samples(await this.#metrics.metrics());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await this.relay[Symbol.asyncDispose]();
    await this.#circuits[Symbol.asyncDispose]();
  }
}

type Host = {
  socket: Socket;
  ear: Ear;
  session: number;
  relay: string;
  heard(size: number): Promise<Buffer>;
};

/** A command channel, and the announcements that came on it. */
class Commands {
  readonly socket: Socket;
  readonly ear: Ear;

  constructor(socket: Socket) {
    this.socket = socket;
    this.ear = new Ear(socket);
  }

  /** The first so many, as `open 0`. */
  async hears(count: number): Promise<string[]> {
    await until(
      () => this.all.length >= count,
      () => `${count} announcements come (${this.all} did)`,
    );
    return this.all;
  }

  get all(): string[] {
    const { bytes } = this.ear;
    const told: string[] = [];
    for (let at = 0; at + 4 <= bytes.length; ) {
      const end = at + 4 + bytes.readUInt32BE(at);
      if (end > bytes.length) break;
      const fields = fieldsOf(bytes.subarray(at + 4, end));
      const type = fields.find(({ number }) => number === 2)?.value;
      const about = fields.find(({ number }) => number === 3 + Number(type))?.value as Buffer;
      told.push(`${type === 0 ? "open" : "drop"} ${fieldsOf(about)[0]?.value}`);
      at = end;
    }
    return told;
  }
}
