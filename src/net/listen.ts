import { once } from "node:events";
import { createServer, type Server, type Socket } from "node:net";
import { Fault } from "../core/fault.ts";
import { parseEndpoint } from "../wire/endpoint.ts";
import { type RateLimit, RateLimiter } from "./rate-limit.ts";
import { Holdings, sourceOf } from "./source.ts";

/**
 * How many may have come and not been accepted yet, as far as the system allows it (`somaxconn`). Past
 * that a comer is not refused but tries again after 1, 3 and 7 s.
 */
const BACKLOG = 4_096;

/** How long a silent TCP connection may stay before the kernel asks whether anybody is still there. */
const KEEPALIVE_MS = 30_000;

export type Listener = AsyncDisposable & { readonly port: number };

export type ListenOptions = {
  /** `host:port` in Go's sense: `localhost` is 127.0.0.1, an empty host every interface. */
  bind: string;
  /** The setting that named the address, for the message when it cannot be had. */
  setting: string;
  /** Read for each connection, so that they may change. */
  readonly rate_limits?: readonly RateLimit[] | undefined;
  /** Open connections, in all and from one source. */
  connections_max?: number;
  connections_per_source_max?: number;
  /** With it whoever comes is shown in here, because others listen at the same address. */
  readonly share?: Share | undefined;
};

/** A place at a port that several listen at. */
export type Share = {
  /** `receive` is given whoever is for this place. Closing lets nobody new in. */
  join(options: ListenOptions, receive: (socket: Socket) => void): Promise<Listener>;
};

/**
 * Accepts TCP connections and hands each over, paused; from then on it is the receiver's to close.
 * Half-open sockets are allowed, because a side that has finished speaking may still be listening.
 * `tooSoon` hears of the source of each that the rate limits turned away unread.
 * Closing the listener lets nobody new in and leaves what was handed over alone.
 */
export async function listen(
  options: ListenOptions,
  receive: (socket: Socket) => void,
  tooSoon: (source: string) => void = () => {},
): Promise<Listener> {
  const { bind, setting, share } = options;
  const enter = doorkeeper(options, receive, tooSoon);
  if (share) return await share.join(options, enter);
  const server = createServer({
    allowHalfOpen: true,
    pauseOnConnect: true,
    noDelay: true,
    keepAlive: true,
    keepAliveInitialDelay: KEEPALIVE_MS,
  });
  server.on("connection", enter);
  await bound(server, bind, setting);
  // After binding, an error is one of accepting (no descriptors left, say): the listener stays.
  server.on("error", () => {});
  return {
    port: (server.address() as { port: number }).port,
    async [Symbol.asyncDispose]() {
      server.close();
    },
  };
}

/** Counts who comes in, and hangs up on those who are too many or come too often. */
function doorkeeper(
  options: ListenOptions,
  receive: (socket: Socket) => void,
  tooSoon: (source: string) => void,
): (socket: Socket) => void {
  const { connections_max = 65_536 } = options;
  const perSource = new Holdings(options.connections_per_source_max ?? connections_max);
  const limiter = new RateLimiter([]);
  let inside = 0;
  return (socket) => {
    limiter.use(options.rate_limits);
    const source = sourceOf(socket.remoteAddress);
    if (!limiter.admits(socket.remoteAddress)) {
      socket.destroy();
      tooSoon(source);
      return;
    }
    if (inside >= connections_max || !perSource.take(source)) {
      socket.destroy();
      return;
    }
    inside += 1;
    socket.once("close", () => {
      inside -= 1;
      perSource.release(source);
    });
    receive(socket);
  };
}

/** A server that listens and receives nobody yet. It is the caller's to close. Throws as `listen` does. */
export async function bindServer(bind: string, setting: string): Promise<Server> {
  const server = createServer((socket) => socket.destroy());
  await bound(server, bind, setting);
  return server;
}

/** Starts listening, or throws a fault that says who wanted which address and why it cannot be had. */
async function bound(server: Server, bind: string, setting: string): Promise<void> {
  server.listen({ ...bindOptions(bind), backlog: BACKLOG });
  try {
    await once(server, "listening");
  } catch (cause) {
    throw bindFault(bind, setting, cause);
  }
}

export function bindOptions(bind: string): { host?: string; port: number } {
  const { host, port } = parseEndpoint(bind);
  if (host === "") return { port };
  return { host: host === "localhost" ? "127.0.0.1" : host, port };
}

export function bindFault(bind: string, setting: string, cause: unknown): Fault {
  const code = (cause as NodeJS.ErrnoException).code;
  const why =
    code === "EADDRINUSE"
      ? "another program already listens there; stop it, or change the address"
      : code === "EACCES"
        ? "this user may not use that port; choose one above 1023, or grant CAP_NET_BIND_SERVICE"
        : code === "EADDRNOTAVAIL" || code === "ENOTFOUND"
          ? "this machine has no such address"
          : String(code);
  return new Fault("settings", `cannot listen on ${bind} (${setting}): ${why}`, { cause });
}
