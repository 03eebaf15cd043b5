import type { Socket } from "node:net";
import { Deadline } from "../../core/deadline.ts";
import { dial } from "../../net/dial.ts";
import { formatEndpoint } from "../../wire/endpoint.ts";
import { spliceStreams } from "../stream/splice.ts";

const DIAL_MS = 5_000;

/** One client at the agent: the relay's number for it, and a signal that aborts when it has to go. */
export type Visit = { readonly session: number; readonly signal: AbortSignal };

/**
 * Serves one client over a stream that is its own: half-open capable, paused, the client's first bytes
 * in it. Where a promise is brought back, the stream is ended for the handler when it resolves, and
 * reset when it rejects. (`for await` over a socket of Node's destroys it at its end, so that nothing
 * could be answered any more; readline, or listening to `data`, does not.)
 */
export type Serve = (stream: Socket, visit: Visit) => unknown;

/** What an agent does with clients, and how it finds out whether it could serve one. */
export type Handler = { readonly serve: Serve; check?(signal: AbortSignal): Promise<void> };

/** Connects each client to a server that listens at `host:port`, which is not asked for by anybody else. */
export function forward(host: string, port: number): Handler {
  const target = formatEndpoint({ host, port });
  const reach = async (signal: AbortSignal): Promise<Socket> => {
    using deadline = new Deadline(DIAL_MS, `dialling ${target}`, signal);
    return await dial(target, deadline.signal);
  };
  return {
    async serve(caller, { signal }) {
      const callee = await reach(signal);
      callee.on("error", () => {}); // an error is followed by a close, which the splice sees
      const splice = spliceStreams({ caller, callee });
      const cut = (): void => splice.cut("shutdown");
      signal.addEventListener("abort", cut, { once: true });
      if (signal.aborted) cut();
      await splice.over;
      signal.removeEventListener("abort", cut);
    },
    async check(signal) {
      (await reach(signal)).destroy();
    },
  };
}

/** Says to each client what it says, as RelayServer does unless told otherwise. */
export function echo(): Handler {
  return { serve: (stream) => void stream.pipe(stream) };
}
