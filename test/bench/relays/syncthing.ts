/** Syncthing's relay, and as much of its protocol (Relay Protocol v1) as two devices need to meet. */
import { createHash } from "node:crypto";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { connect, type TLSSocket } from "node:tls";
import { Deadline } from "../../../src/core/deadline.ts";
import { makeRoot, privateKeyPem } from "../../../src/roles/dev/issue.ts";
import type { Knock } from "../load/legs.ts";
import type { Contestant, Ways } from "./relay.ts";
import { freePorts, Server } from "./server.ts";

const MAGIC = 0x9e79bc40;
const HEADER_SIZE = 12;
const [PING, PONG, JOIN_RELAY, JOIN_SESSION, RESPONSE, CONNECT, INVITATION] = [0, 1, 2, 3, 4, 5, 6];
const ID_SIZE = 32;
/** Devices that ask for sessions at once; an invitation tells only whose session it is. */
const CALLERS = 8;
const ANSWER_MS = 20_000;
const LINGER_MS = 500;

/** What lets a leg in: code 0, and why. */
const WELCOME = frame(RESPONSE, Buffer.concat([uint(0), opaque(Buffer.from("success"))]));

export const syncthing: Contestant = {
  name: "syncthing-relaysrv",
  what: "as shipped, joining no pool",
  program: { command: "strelaysrv", version: ["-version"] },
  most: { idle: 2_000, setups: 1_000 },
  rest_ms: 35_000, // the runtime of Go gives pages back by and by
  start: async ({ folder }) => {
    const [port = 0] = await freePorts(1);
    const listen = ["-protocol", "tcp4", "-listen", `127.0.0.1:${port}`, "-keys", folder];
    const patience = ["-message-timeout", "10m", "-network-timeout", "1h"];
    const server = await Server.start(
      ["strelaysrv", ...listen, ...patience, "-pools", "", "-status-srv", ""],
      { folder, port },
    );
    const callers = await Promise.all(Array.from({ length: CALLERS }, makeDevice));
    const callee = await Talk.open(port, await makeDevice());
    await callee.ask(JOIN_RELAY, Buffer.alloc(0), RESPONSE);
    return {
      pids: [server.pid],
      prepare: (circuits) => prepare(circuits, { port, callers, callee }),
      async [Symbol.asyncDispose]() {
        callee.close();
        await server[Symbol.asyncDispose]();
      },
    };
  },
};

type Device = { readonly id: Buffer; readonly cert: string; readonly key: string };

async function makeDevice(): Promise<Device> {
  const issued = await makeRoot("ecdsa", new Date());
  const id = createHash("sha256").update(Buffer.from(issued.certificate.rawData)).digest();
  return { id, cert: issued.certificate.toString("pem"), key: privateKeyPem(issued, "pkcs8") };
}

/** Has the callers ask for sessions with the callee; both sides are invited, each with its own key. */
async function prepare(
  circuits: number,
  { port, callers, callee }: { port: number; callers: Device[]; callee: Talk },
): Promise<Ways> {
  const knocks: { caller: Knock[]; callee: Knock[] } = { caller: [], callee: [] };
  const waiting = new Map<string, (key: Buffer) => void>();
  callee.onMessage = (kind, body) => {
    if (kind !== INVITATION) return;
    const { from, key } = readInvitation(body);
    waiting.get(from)?.(key);
  };
  let left = circuits;
  const ask = async (device: Device): Promise<void> => {
    while (left > 0) {
      left -= 1;
      const invited = new Promise<Buffer>((r) => waiting.set(device.id.toString("hex"), r));
      const talk = await Talk.open(port, device);
      const { key } = readInvitation(await talk.ask(CONNECT, opaque(callee.peer), INVITATION));
      knocks.callee.push(knockWith(await invited));
      knocks.caller.push(knockWith(key));
      await talk.over();
    }
  };
  await Promise.all(callers.map(ask));
  return {
    caller: { port, knocks: knocks.caller },
    callee: { port, knocks: knocks.callee },
  };
}

function knockWith(key: Buffer): Knock {
  const hello = frame(JOIN_SESSION, opaque(key));
  return { hello: hello.toString("base64"), welcome: WELCOME.toString("base64") };
}

function readInvitation(body: Buffer): { from: string; key: Buffer } {
  const from = readOpaque(body, 0);
  return { from: from.toString("hex"), key: readOpaque(body, 4 + ID_SIZE) };
}

/** A connection in protocol mode: TLS with a device's certificate, messages both ways. */
class Talk {
  readonly #socket: TLSSocket;
  /** Who we are here. */
  readonly peer: Buffer;
  #rest: Buffer = Buffer.alloc(0);
  onMessage: (kind: number, body: Buffer) => void = () => {};

  private constructor(socket: TLSSocket, { id }: Device) {
    this.#socket = socket;
    this.peer = id;
    socket.on("data", (bytes) => this.#hear(bytes));
    socket.on("error", () => {});
  }

  static async open(port: number, device: Device): Promise<Talk> {
    const { cert, key } = device;
    const socket = connect({
      ...{ host: "127.0.0.1", port, cert, key },
      ...{ ALPNProtocols: ["bep-relay"], rejectUnauthorized: false },
    });
    await once(socket, "secureConnect");
    return new Talk(socket, device);
  }

  /** Says one thing and waits for an answer of that kind. */
  async ask(kind: number, body: Buffer, answer: number): Promise<Buffer> {
    using deadline = new Deadline(ANSWER_MS, "syncthing-relaysrv's answer");
    return await new Promise((resolve, reject) => {
      deadline.signal.addEventListener("abort", () => reject(deadline.signal.reason));
      this.onMessage = (heard, said) => {
        if (heard === answer) resolve(said);
        else reject(new Error(`syncthing-relaysrv answered ${kind} by ${heard}: ${said}`));
      };
      this.#socket.write(frame(kind, body));
    });
  }

  /** The relay hangs up on those who have what they asked for; leaving earlier may undo it. */
  async over(): Promise<void> {
    await Promise.race([once(this.#socket, "close"), sleep(LINGER_MS, undefined, { ref: false })]);
    this.close();
  }

  close(): void {
    this.#socket.destroy();
  }

  #hear(bytes: Buffer): void {
    this.#rest = Buffer.concat([this.#rest, bytes]);
    while (this.#rest.length >= HEADER_SIZE) {
      const size = HEADER_SIZE + this.#rest.readUInt32BE(8);
      if (this.#rest.length < size) return;
      const kind = this.#rest.readUInt32BE(4);
      const body = this.#rest.subarray(HEADER_SIZE, size);
      this.#rest = this.#rest.subarray(size);
      if (kind === PING) this.#socket.write(frame(PONG, Buffer.alloc(0)));
      else this.onMessage(kind, body);
    }
  }
}

function uint(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

/** XDR (RFC 4506): the length, the bytes, and zeros up to a multiple of four. */
function opaque(bytes: Buffer): Buffer {
  return Buffer.concat([uint(bytes.length), bytes, Buffer.alloc(-bytes.length & 3)]);
}

function readOpaque(body: Buffer, at: number): Buffer {
  return body.subarray(at + 4, at + 4 + body.readUInt32BE(at));
}

function frame(kind: number, body: Buffer): Buffer {
  return Buffer.concat([uint(MAGIC), uint(kind), uint(body.length), body]);
}
