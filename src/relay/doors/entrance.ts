import type { Socket } from "node:net";
import { Scope } from "../../core/scope.ts";
import { type Listener, type ListenOptions, listen } from "../../net/listen.ts";
import type { LiveTls } from "../../net/live-tls.ts";
import type { TlsSettings } from "../../net/settings.ts";
import { connectionOf } from "../../net/source.ts";
import { acceptTls, resettable } from "../../net/tls.ts";

/** What those who come in have to get through, if anything: certificates that are followed while they change. */
export type EntranceTls = {
  readonly settings: TlsSettings;
  readonly files: LiveTls;
  /** What connections may be for, where they say so while they shake hands. */
  readonly alpn?: string[];
};

type Entering = {
  /** Owns the socket from here on. */
  enter(socket: Socket): void;
  /** Came too often, or failed to say its ClientHello or to prove who it is. */
  refused(why: "rate" | "malformed", story: { source?: string; reason?: string }): void;
};

/** Where somebody comes in: by TCP, and by TLS above it if that is wanted. */
export async function openEntrance(
  options: ListenOptions,
  tls: EntranceTls | undefined,
  { enter, refused }: Entering,
): Promise<Listener> {
  const tooSoon = (source: string): void => refused("rate", { source });
  if (!tls) return await listen(options, enter, tooSoon);
  const scope = new Scope();
  const below = new Map<string, Socket>();
  const acceptor = scope.use(
    acceptTls(
      tls.files.current,
      { ...tls.settings, alpn: tls.alpn ?? [] },
      {
        secured(secure) {
          const socket = below.get(connectionOf(secure));
          enter(socket ? resettable(secure, socket) : secure);
        },
        failed: (reason) => refused("malformed", { reason }),
      },
    ),
  );
  tls.files.onChange((material) => acceptor.renew(material));
  const handOver = (socket: Socket): void => {
    const connection = connectionOf(socket);
    below.set(connection, socket);
    socket.on("close", () => below.delete(connection));
    acceptor.accept(socket);
  };
  const listener = scope.use(await listen(options, handOver, tooSoon));
  return {
    port: listener.port,
    [Symbol.asyncDispose]: () => scope[Symbol.asyncDispose](),
  };
}
