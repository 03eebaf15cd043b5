import type { Socket } from "node:net";
import { Backoff, Deadline } from "../../core/deadline.ts";
import { explain, Fault } from "../../core/fault.ts";
import { dial } from "../../net/dial.ts";
import { readHello } from "../../net/read-hello.ts";
import { connectTls, resettable, type TlsMaterial } from "../../net/tls.ts";
import {
  decodeAnnouncement,
  decodeHelloResponse,
  encodeHello,
  RelayMessages,
} from "../../wire/relayserver.ts";
import { readMessage } from "../read-message.ts";

const DIAL_MS = 10_000;
const HELLO_MS = 10_000;
/** How long a silent relay is believed in before the kernel asks whether it is still there. */
const KEEPALIVE_MS = 30_000;
/** While a relay is away it is tried about this often, so that its return is soon noticed. */
export const AWAY_MS = 1_000;
/** A channel that lasted this long was a success. */
const SETTLED_MS = 1_000;

/** A relay as its agents know it, and what shows it who they are. */
export type Relay = {
  /** `host:port` where connections wait, and where announcements are made. */
  readonly endpoint: string;
  readonly commands: string;
  /** The certificate, if there is one, is what the relay knows the agent by. */
  readonly tls?:
    | { readonly material: TlsMaterial; readonly name: string; readonly skip_verify: boolean }
    | undefined;
  readonly hello: {
    readonly service?: string;
    readonly owner: string;
    readonly token?: string;
  };
};

/** Connects to the relay. The socket is the caller's to close. */
export async function dialRelay(
  endpoint: string,
  { tls }: Relay,
  signal: AbortSignal,
): Promise<Socket> {
  using deadline = new Deadline(DIAL_MS, `dialling the relay ${endpoint}`, signal);
  const socket = await dial(endpoint, deadline.signal);
  socket.on("error", () => {}); // an error is followed by a close, which is what counts
  socket.setKeepAlive(true, KEEPALIVE_MS);
  if (!tls) return socket;
  const secure = await connectTls(socket, tls.material, { ...tls, alpn: [] }, deadline.signal);
  secure.on("error", () => {});
  return resettable(secure, socket);
}

/** Says the hello; the session that the relay answers. What came behind the answer stays in the socket. */
export async function sayHello(
  socket: Socket,
  { endpoint, hello }: Relay,
  signal: AbortSignal,
): Promise<number> {
  using deadline = new Deadline(HELLO_MS, "the relay's answer to a hello", signal);
  socket.write(encodeHello(hello));
  const answer = readMessage(socket, deadline.signal);
  try {
    return decodeHelloResponse(await answer).session;
  } catch (cause) {
    if (!socket.readableEnded && !socket.destroyed) throw cause;
    const why = "closed before it answered: does it know this service, and let this agent in?";
    throw new Fault("unreachable", `the relay ${endpoint} ${why}`, { cause });
  }
}

/** Resolves once a client is there: it said something, or `announced` fires. Throws if the leg is lost. */
export async function clientCame(
  socket: Socket,
  announced: AbortSignal,
  signal: AbortSignal,
): Promise<void> {
  const either = new AbortController();
  const came = (): void => either.abort(CAME);
  const stop = (): void => either.abort(signal.reason);
  announced.addEventListener("abort", came);
  signal.addEventListener("abort", stop);
  if (announced.aborted) came();
  if (signal.aborted) stop();
  try {
    const look = (): true | undefined => {
      socket.read(0); // takes notice of an end
      return socket.readableLength > 0 ? true : undefined;
    };
    await readHello(socket, look, either.signal);
  } catch (reason) {
    if (reason === CAME) return;
    if (signal.aborted) throw reason;
    throw new Fault("unreachable", "the relay closed a connection that waited", { cause: reason });
  } finally {
    announced.removeEventListener("abort", came);
    signal.removeEventListener("abort", stop);
  }
}

const CAME = new Error("a client was announced");

type Told = ReturnType<typeof decodeAnnouncement> & {};

type Listening = {
  heard(announcement: Told): void;
  listening(): void;
  lost(problem: string | undefined): void;
};

/**
 * Listens to what the relay announces until the signal aborts, and tells `heard`. A channel that is
 * open is told to `listening`. One that breaks is opened again; `lost` hears of each, and why it broke
 * unless it is what it heard before.
 */
export async function listenToRelay(
  relay: Relay,
  { heard, listening, lost }: Listening,
  signal: AbortSignal,
): Promise<void> {
  const backoff = new Backoff(AWAY_MS);
  let known = "";
  while (!signal.aborted) {
    const began_at = performance.now();
    try {
      const socket = await dialRelay(relay.commands, relay, signal);
      socket.write(encodeHello(relay.hello));
      listening();
      await hearAll(socket, heard, signal);
      throw new Fault("unreachable", `the relay closed its announcements (${relay.commands})`);
    } catch (reason) {
      if (signal.aborted) return;
      const settled = performance.now() - began_at > SETTLED_MS;
      const problem = explain(reason);
      lost(problem === known && !settled ? undefined : problem);
      known = problem;
      if (settled) backoff.reset();
    }
    await backoff.wait(signal).catch(() => {});
  }
}

async function hearAll(
  socket: Socket,
  heard: (announcement: Told) => void,
  signal: AbortSignal,
): Promise<void> {
  const messages = new RelayMessages();
  const stop = (): void => void socket.destroy();
  signal.addEventListener("abort", stop, { once: true });
  try {
    await new Promise<void>((resolve, reject) => {
      socket.on("end", stop).on("close", resolve);
      socket.on("data", (chunk: Buffer) => {
        try {
          messages.add(chunk);
          for (let next = messages.take(); next; next = messages.take()) {
            const announcement = decodeAnnouncement(next);
            if (announcement) heard(announcement);
          }
        } catch (reason) {
          reject(reason);
        }
      });
      if (signal.aborted) stop();
    });
  } finally {
    signal.removeEventListener("abort", stop);
    socket.destroy();
  }
}
