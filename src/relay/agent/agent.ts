import { setMaxListeners } from "node:events";
import type { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { nanoid } from "nanoid";
import { Backoff, Deadline } from "../../core/deadline.ts";
import { explain, Fault } from "../../core/fault.ts";
import { Scope } from "../../core/scope.ts";
import { reset } from "../../net/reset.ts";
import { formatEndpoint, parseEndpoint } from "../../wire/endpoint.ts";
import { AWAY_MS, clientCame, dialRelay, listenToRelay, type Relay, sayHello } from "./relay.ts";
import type { Handler, Serve } from "./targets.ts";

/** Connections that are dialled at the same time; to the relay they are strangers until it answers. */
const DIALS_MAX = 16;
/** A connection that is lost sooner than this, and had no client, was a failure. */
const SETTLED_MS = 1_000;
/** What a client said last may be on its way still when the relay says that it has left. */
const DROP_GRACE_MS = 1_000;
const CHECK_MS = 10_000;
/** Announcements that overtook the connection they are about. */
const EARLY_MAX = 1_000;

/** How many connections there are: `min` at least, `spare` more than are in use, never more than `max`. */
type Size = { min: number; max: number; spare: number };
const GROWING: Size = { min: 10, max: 1_000, spare: 10 };

/** How a connection ended: without a client, when both sides had finished, broken, or by its handler's fault. */
type Closing = {
  readonly session: number | undefined;
  readonly why: "unused" | "done" | "broken" | "failed";
  readonly problem?: string;
};

export type AgentEvents = {
  /** A client came. */
  opened?(session: number): void;
  /** Exactly once for each connection that was made to the relay. */
  closed?(closing: Closing): void;
  /** As many connections wait as shall, and what becomes of them is heard. Told once, and again after trouble. */
  ready?(): void;
  /** Something is not as it should be, and is tried again. */
  troubled?(problem: string): void;
};

type AgentOptions = {
  /** `host:port` of the relay; announcements are made one port above, unless `commands` says where. */
  relay: string;
  commands?: string;
  /** The pool that the connections are for, and what lets them in. */
  service?: string;
  token?: string;
  tls?: Relay["tls"];
  /** A number is as many always, as RelayServer has them. */
  size?: number | Partial<Size>;
  handler: Serve | Handler;
  /** How often the handler is asked whether it could serve, and how long clients may stay at the end. */
  check_every_ms?: number;
  drain_ms?: number;
  events?: AgentEvents;
};

type Leg = {
  phase: "dialling" | "waiting" | "used" | "dropped";
  session?: number;
  socket?: Socket;
  readonly announced: AbortController;
};

/**
 * Keeps connections waiting at a relay, and serves whoever the relay gives them. Begins at once and
 * goes on, whatever the relay does, until it is disposed: then nobody new is served, and who is here
 * may stay for `drain_ms`.
 */
export function poolAgent(options: AgentOptions): PoolAgent {
  return new PoolAgent(options);
}

class PoolAgent implements AsyncDisposable {
  readonly #relay: Relay;
  readonly #size: Size;
  readonly #handler: Handler;
  readonly #events: AgentEvents;
  readonly #drain_ms: number;
  readonly #legs = new Map<Leg, Promise<void>>();
  readonly #early = new Set<number>();
  readonly #scope = new Scope();
  readonly #leave = new AbortController();
  readonly #backoff = new Backoff(AWAY_MS);
  /** Ends the waiting of all that wait, once the handler cannot serve. */
  #withdraw = new AbortController();
  #look = new AbortController();
  #able: boolean;
  #failing = false;
  #pausing = false;
  #ready = false;
  #listening = false;

  constructor(options: AgentOptions) {
    const { relay: endpoint, commands = above(endpoint), service, token, tls, handler } = options;
    const { size = GROWING, check_every_ms = 10_000, drain_ms = 10_000, events = {} } = options;
    const hello = { owner: nanoid(), ...(service && { service }), ...(token && { token }) };
    this.#relay = { endpoint, commands, tls, hello };
    this.#size =
      typeof size === "number" ? { min: size, max: size, spare: 0 } : { ...GROWING, ...size };
    this.#handler = typeof handler === "function" ? { serve: handler } : handler;
    this.#events = events;
    this.#drain_ms = drain_ms;
    this.#able = !this.#handler.check;
    const { signal } = this.#scope;
    setMaxListeners(0, signal, this.#leave.signal, this.#withdraw.signal); // one for each connection
    const channel = {
      heard: this.#hear.bind(this),
      listening: () => {
        this.#listening = true;
        this.#fill();
      },
      lost: this.#lost.bind(this),
    };
    const loops = [
      listenToRelay(this.#relay, channel, signal),
      this.#keepChecking(check_every_ms, signal),
    ];
    this.#scope.defer(() => Promise.all(loops));
    this.#fill();
  }

  /** How many connections are in use, wait for a client, and are being made. */
  get count(): Record<"used" | "waiting" | "dialling", number> {
    const count = { used: 0, waiting: 0, dialling: 0 };
    for (const { phase } of this.#legs.keys()) if (phase !== "dropped") count[phase] += 1;
    return count;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closing = this.#scope[Symbol.asyncDispose]();
    const drained = Promise.all(this.#legs.values());
    const timer = setTimeout(() => {
      this.#leave.abort(new Fault("unreachable", "the agent is stopping"));
      for (const { socket } of this.#legs.keys()) if (socket) reset(socket);
    }, this.#drain_ms);
    await Promise.all([drained, closing]);
    clearTimeout(timer);
  }

  /** Makes as many connections as are missing; while the relay is away, one after each pause. */
  #fill(): void {
    if (this.#scope.signal.aborted || !this.#able || this.#pausing) return;
    const { used, waiting, dialling } = this.count;
    const { min, max, spare } = this.#size;
    const wanted = Math.min(max, Math.max(min, used + spare));
    const missing = wanted - used - waiting - dialling;
    if (missing + dialling <= 0 && this.#listening && !this.#ready) {
      this.#ready = true;
      this.#events.ready?.();
    }
    const room = (this.#failing ? 1 : DIALS_MAX) - dialling;
    for (let left = Math.min(missing, room); left > 0; left -= 1) {
      const leg: Leg = { phase: "dialling", announced: new AbortController() };
      this.#legs.set(
        leg,
        this.#keep(leg).finally(() => {
          this.#legs.delete(leg);
          this.#fill();
        }),
      );
    }
  }

  /** One connection, from its making until it is closed. */
  async #keep(leg: Leg): Promise<void> {
    let closing: Omit<Closing, "session"> = { why: "unused" };
    let settled = false;
    const stop = new Scope(this.#scope.signal);
    const withdraw = (): void => void stop[Symbol.asyncDispose]();
    this.#withdraw.signal.addEventListener("abort", withdraw);
    try {
      const { signal } = stop;
      const socket = await dialRelay(this.#relay.endpoint, this.#relay, signal);
      leg.socket = socket;
      leg.session = await sayHello(socket, this.#relay, signal);
      leg.phase = "waiting";
      this.#failing = false;
      if (this.#early.delete(leg.session)) leg.announced.abort();
      this.#fill();
      const settling = setTimeout(() => {
        settled = true;
        this.#backoff.reset();
      }, SETTLED_MS);
      await clientCame(socket, leg.announced.signal, signal).finally(() => clearTimeout(settling));
      settled = true;
      this.#backoff.reset();
      leg.phase = "used";
      this.#fill();
      this.#events.opened?.(leg.session);
      closing = await this.#serve(leg.session, socket);
    } catch (reason) {
      const problem = explain(reason);
      closing = { why: "unused", problem };
      if (!settled && !stop.signal.aborted) this.#lostRelay(problem);
    } finally {
      this.#withdraw.signal.removeEventListener("abort", withdraw);
      await stop[Symbol.asyncDispose]();
      leg.socket?.destroy();
    }
    if (leg.socket) this.#events.closed?.({ session: leg.session, ...closing });
  }

  async #serve(session: number, socket: Socket): Promise<Omit<Closing, "session">> {
    const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()));
    if (socket.destroyed) return { why: "broken" };
    try {
      const served = this.#handler.serve(socket, { session, signal: this.#leave.signal });
      if (served instanceof Promise) {
        await served;
        if (!socket.destroyed) socket.resume().end();
      }
    } catch (reason) {
      reset(socket);
      this.#look.abort();
      return { why: "failed", problem: explain(reason) };
    }
    await closed;
    return { why: socket.errored || !socket.readableEnded ? "broken" : "done" };
  }

  #hear({ what, session }: { what: "open" | "drop"; session: number }): void {
    const leg = [...this.#legs.keys()].find((each) => each.session === session);
    if (what === "drop") {
      if (leg?.phase === "used") this.#drop(leg);
    } else if (leg) leg.announced.abort();
    else {
      this.#early.add(session);
      const [oldest] = this.#early;
      if (this.#early.size > EARLY_MAX && oldest !== undefined) this.#early.delete(oldest);
    }
  }

  /** Its client is gone for good, so another may take its place while the last bytes come in. */
  #drop(leg: Leg): void {
    leg.phase = "dropped";
    this.#fill();
    const timer = setTimeout(() => leg.socket?.destroy(), DROP_GRACE_MS);
    leg.socket?.once("close", () => clearTimeout(timer));
  }

  #lost(problem: string | undefined): void {
    this.#early.clear(); // a relay that was started anew counts from 0
    this.#listening = false;
    this.#ready = false;
    if (problem) this.#events.troubled?.(problem);
  }

  #lostRelay(problem: string): void {
    if (!this.#failing) this.#events.troubled?.(problem);
    this.#failing = true;
    this.#ready = false;
    if (this.#pausing) return;
    this.#pausing = true;
    void this.#backoff
      .wait(this.#scope.signal)
      .catch(() => {})
      .then(() => {
        this.#pausing = false;
        this.#fill();
      });
  }

  /** Offers nothing while the handler could not serve it. */
  async #keepChecking(every_ms: number, signal: AbortSignal): Promise<void> {
    const { check } = this.#handler;
    if (!check) return;
    const backoff = new Backoff(AWAY_MS);
    while (!signal.aborted) {
      this.#look = new AbortController();
      try {
        using deadline = new Deadline(CHECK_MS, "the check of the handler", signal);
        await check(deadline.signal);
        this.#able = true;
        backoff.reset();
        this.#fill();
        const early = AbortSignal.any([signal, this.#look.signal]);
        await sleep(every_ms, undefined, { signal: early }).catch(() => {});
      } catch (reason) {
        if (signal.aborted) return;
        if (this.#able) this.#events.troubled?.(explain(reason));
        this.#able = false;
        this.#ready = false;
        this.#withdraw.abort();
        this.#withdraw = new AbortController();
        setMaxListeners(0, this.#withdraw.signal);
        await backoff.wait(signal).catch(() => {});
      }
    }
  }
}

function above(endpoint: string): string {
  const { host, port } = parseEndpoint(endpoint);
  return formatEndpoint({ host, port: port + 1 });
}
