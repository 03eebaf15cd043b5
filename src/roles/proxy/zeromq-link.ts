import type { Socket } from "node:net";
import { nanoid } from "nanoid";
import { aborted, Deadline } from "../../core/deadline.ts";
import { explain } from "../../core/fault.ts";
import type { Log } from "../../core/log.ts";
import type { Metrics } from "../../core/metrics.ts";
import { Scope } from "../../core/scope.ts";
import { dial } from "../../net/dial.ts";
import { listen } from "../../net/listen.ts";
import { sourceOf } from "../../net/source.ts";
import { connectTls, readTls, resettable } from "../../net/tls.ts";
import { Circuits } from "../../relay/circuits.ts";
import { RelayEvents } from "../../relay/events.ts";
import { openEngine } from "../../relay/open-engine.ts";
import { formatEndpoint, parseEndpoint } from "../../wire/endpoint.ts";
import { ALPN } from "./zeromq.ts";

const DIAL_MS = 10_000;
/** Peers stay as long as they like. */
const CIRCUITS = {
  circuits_max: 4_096,
  idle_timeout_ms: Infinity,
  circuit_bytes_max: Infinity,
  circuit_duration_max_ms: Infinity,
  drain_timeout_ms: 0,
};

/** What the flags of `proxy run zeromq --through` say. */
export type LinkFlags = {
  /** `host:port` of the other side's `tls_bind_address`, or of a public proxy that passes it on by name. */
  through: string;
  /** The other side's first two ports, which are to be had here as well. */
  ports: readonly number[];
  host?: string;
  ca: string;
  cert?: string;
  key?: string;
  serverName?: string;
};

/**
 * Both public ports of a switch elsewhere, at this machine: each connection goes there by TLS, so that
 * peers who know nothing of it can use it. A CAMEO client then has its server at `localhost`.
 */
export async function runZeromqLink(
  { through, ports, host = "localhost", ...flags }: LinkFlags,
  { log, metrics }: { log: Log; metrics: Metrics },
  signal: AbortSignal,
): Promise<void> {
  await using scope = new Scope(signal);
  const events = new RelayEvents({ log, metrics });
  const engine = scope.use(await openEngine("stream", { log }));
  const circuits = scope.use(new Circuits(CIRCUITS, { engine, events }));
  const material = await readTls({
    ca_certificate_files: [flags.ca],
    certificate_file: flags.cert,
    key_file: flags.key,
  });
  const name = flags.serverName ?? parseEndpoint(through).host;
  for (const [index, door] of (["responder", "publisher"] as const).entries()) {
    const carry = async (socket: Socket): Promise<void> => {
      socket.on("error", () => {}); // an error is followed by a close, which the splice sees
      const arrived_at = performance.now();
      const source = sourceOf(socket.remoteAddress);
      let secure: Socket | undefined;
      try {
        using deadline = new Deadline(DIAL_MS, `reaching ${through}`, scope.signal);
        const below = await dial(through, deadline.signal);
        const options = { name, skip_verify: false, alpn: [ALPN[door]] };
        const session = await connectTls(below, material, options, deadline.signal);
        secure = resettable(session, below).on("error", () => {});
        const line = await engine.adopt(secure, deadline.signal);
        void circuits.add({
          names: { caller: source, callee: through, request: nanoid(12) },
          legs: {
            caller: { door, line: await engine.adopt(socket, deadline.signal), arrived_at },
            callee: { door, line, arrived_at: performance.now() },
          },
        });
      } catch (reason) {
        secure?.destroy();
        socket.destroy();
        log.warn({ through, reason: explain(reason) }, "the other side cannot be reached");
      }
    };
    const bind = formatEndpoint({ host, port: ports[index] ?? 0 });
    scope.use(await listen({ bind, setting: "--ports" }, (socket) => void carry(socket)));
  }
  log.info({ through, ports, host }, "ready");
  await aborted(scope.signal);
  log.info({ circuits: circuits.open }, "stopping");
}
