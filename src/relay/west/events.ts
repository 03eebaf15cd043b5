import { Counter, Histogram } from "prom-client";
import type { Log } from "../../core/log.ts";
import { type Metrics, WAIT_BOUNDS, watch } from "../../core/metrics.ts";
import type { ExchangeRecord } from "../../rpc/http-upstream.ts";
import type { Caller } from "../tunnel/door.ts";
import type { Tunnel } from "../tunnel/tunnel.ts";

const SIDES = ["listener", "fetcher"] as const;
type Side = (typeof SIDES)[number];
const METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/** One request on its way. */
type Exchange = {
  /** Where it came in, or where it goes out. */
  side: Side;
  request: string;
  method: string;
  /** Without the query, which is the client's business. */
  path: string;
  peer: string;
  /** The server that is asked. */
  target?: string;
};

/** What happens to tunnels and in them: counted with few labels, logged with many fields. Never throws. */
export class WestEvents {
  readonly #log: Log;
  readonly #exchanges: Counter<"side" | "method" | "status">;
  readonly #bytes: Counter<"side" | "from">;
  readonly #duration: Histogram<"side">;
  readonly #open = new Set<Tunnel>();
  readonly #away = new Set<string>();

  constructor({ log, metrics }: { log: Log; metrics: Metrics }) {
    this.#log = log;
    const registers = [metrics];
    this.#exchanges = new Counter({
      name: "eps_broker_west_exchanges_total",
      help: "Requests that are over, by the side of the tunnel, their method and the class of their status",
      labelNames: ["side", "method", "status"],
      registers,
    });
    this.#bytes = new Counter({
      name: "eps_broker_west_bytes_total",
      help: "Bytes of bodies, by the side of the tunnel and who sent them",
      labelNames: ["side", "from"],
      registers,
    });
    this.#duration = new Histogram({
      name: "eps_broker_west_exchange_duration_seconds",
      help: "How long requests took, from their header to the end of their answer",
      buckets: WAIT_BOUNDS,
      labelNames: ["side"],
      registers,
    });
    watch(metrics, "eps_broker_west_tunnels_open", "Tunnels that are open", () => this.#open.size);
  }

  /** Begins a record; call what it returns when the exchange is over. */
  exchange({ side, ...story }: Exchange): (record: ExchangeRecord) => void {
    const began_at = performance.now();
    return ({ status, cut, bytes_from_client, bytes_from_server }) => {
      const ms = Math.round(performance.now() - began_at);
      const method = METHODS.includes(story.method) ? story.method : "other";
      this.#exchanges.inc({ side, method, status: cut ? "cut" : `${Math.floor(status / 100)}xx` });
      this.#bytes.inc({ side, from: "client" }, bytes_from_client);
      this.#bytes.inc({ side, from: "server" }, bytes_from_server);
      this.#duration.observe({ side }, ms / 1_000);
      const record = { side, ...story, status, ms, bytes_from_client, bytes_from_server };
      this.#log.info(cut ? { ...record, cut } : record, "exchange ended");
    };
  }

  joined(peer: string, tunnel: Tunnel, story: object): void {
    this.#open.add(tunnel);
    this.#away.delete(peer);
    this.#log.info({ peer, version: tunnel.version, ...story }, "tunnel open");
    void tunnel.link.closed.then((why) => {
      this.#open.delete(tunnel);
      this.#log.info({ peer, why, ...tunnel.link.counts }, "tunnel ended");
    });
  }

  /** Warns once, until there is a tunnel again. */
  missed(peer: string, reason: string): void {
    const level = this.#away.has(peer) ? "debug" : "warn";
    this.#away.add(peer);
    this.#log[level]({ peer, reason }, "no tunnel, and tried again");
  }

  turnedAway(caller: Caller | undefined, reason: string): void {
    this.#log.warn({ peer: caller?.name, address: caller?.address, reason }, "tunnel refused");
  }
}
