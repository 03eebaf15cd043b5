import { nanoid } from "nanoid";
import { Backoff, Deadline } from "../core/deadline.ts";
import { Fault } from "../core/fault.ts";
import type { Directory } from "../directory/directory.ts";
import { clientEntry, type Entry } from "../directory/entry.ts";
import { mayCall } from "../directory/permissions.ts";
import { UnansweredFault } from "../rpc/grpc/client.ts";
import { type Address, formatAddress } from "../wire/address.ts";
import type { Answer } from "../wire/answer.ts";
import { REQUEST_ID_SIZE, requestOf, withRequest } from "../wire/call-id.ts";
import type { Json, JsonObject } from "../wire/json.ts";
import type { Call, Channel } from "./channel.ts";
import type { BrokerEvents, CallStory } from "./events.ts";
import { PICK_UP, PickedUp } from "./later.ts";
import { Timings } from "./timings.ts";

/** A method that the endpoint answers itself, such as `_ping`. */
export type InternalMethod = (call: Call, signal: AbortSignal) => Promise<Json> | Json;

type Message = {
  address: Address;
  params: JsonObject;
  caller: string;
  /** Who at the caller's; left out if it is one. */
  source?: string;
  timings?: Timings;
};

/** Read for each call, so that they may change. */
type BrokerSettings = {
  readonly self: string;
  /** How long a call may take, and how long one that its service has acknowledged. */
  readonly call_timeout_ms: number;
  readonly respond_timeout_ms: number;
};

type Dependencies = { directory: Directory; events: BrokerEvents };

/** Calls that may be under way at once; past that, callers are told to come back. */
const IN_FLIGHT_MAX = 10_000;
/** How long one question for a promised answer may take, and the longest pause between two. */
const PICK_UP_MS = 30_000;
const PICK_UP_PAUSE_MS = 1_000;
/** How long the other side may be away: a program that is started again on a busy machine takes seconds. */
const REACHABLE_AGAIN_MS = 15_000;
/** What a question fails with that nobody heard. With anything else, the other side has declined it. */
const UNHEARD = new Set(["unreachable", "timeout", "overloaded"]);

/** Decides whether a call may pass, and which channel carries it (eps-protocol 4.2). */
export class Broker {
  readonly #settings: BrokerSettings;
  readonly #directory: Directory;
  readonly #events: BrokerEvents;
  readonly #channels: Channel[] = [];
  readonly #internal = new Map<string, InternalMethod>();
  /** Internal methods that see to it themselves who may call them. */
  readonly #unguarded = new Set<string>();
  readonly #inFlight = new Set<string>();

  constructor(settings: BrokerSettings, { directory, events }: Dependencies) {
    this.#settings = settings;
    this.#directory = directory;
    this.#events = events;
  }

  /** Channels are asked in the order in which they were added. */
  add(channel: Channel): void {
    this.#channels.push(channel);
  }

  /** The directory says which others may call it, unless the method is `unguarded`. */
  answer(method: string, answer: InternalMethod, { unguarded = false } = {}): void {
    this.#internal.set(method, answer);
    if (unguarded) this.#unguarded.add(method);
  }

  /**
   * Delivers one call and brings back its answer. What the caller did wrong, and what nobody here
   * can deliver, is a fault; what a channel could not deliver is an error answer with code 500, and
   * a missing permission one with code 403. `hungUp` aborts when the caller is gone.
   */
  async deliver(message: Message, hungUp: AbortSignal): Promise<Answer | undefined> {
    const call = formatAddress(message.address);
    const id = `${message.caller}\n${call}`;
    if (this.#inFlight.has(id)) {
      throw new Fault("conflict", `request ${call} is already being processed`);
    }
    if (this.#inFlight.size >= IN_FLIGHT_MAX) {
      throw new Fault("overloaded", `${IN_FLIGHT_MAX} calls are under way here, try again later`);
    }
    const story = this.#events.call(message);
    this.#inFlight.add(id);
    try {
      const answer = await this.#route(message, story, hungUp);
      story.answered(answer);
      return answer;
    } catch (reason) {
      story.failed(reason);
      throw reason;
    } finally {
      this.#inFlight.delete(id);
    }
  }

  async #route(
    { address, params: given, caller: name, source = name, timings = new Timings() }: Message,
    story: CallStory,
    hungUp: AbortSignal,
  ): Promise<Answer | undefined> {
    const { self, call_timeout_ms } = this.#settings;
    const { operator, method } = address;
    using deadline = new Deadline(call_timeout_ms, `the call of ${operator}.${method}`, hungUp);
    await timings.measure("directory", () => this.#directory.ready(deadline.signal));
    const entry = this.#entry(name, `client '${name}'`);
    const own = this.#entry(self, `our own name '${self}'`);
    this.#entry(operator, `recipient '${operator}'`);
    const client = clientEntry(entry) as unknown as JsonObject;
    const params = { ...given, _client: { name, entry: client } };
    const call: Call = { address, params, caller: { name, entry, source }, timings };

    if (name !== self) {
      if (operator !== self) {
        return refusal(`${self} does not pass on calls of others, call ${operator} directly`);
      }
      if (!this.#unguarded.has(method) && !mayCall(entry, own, method)) {
        return refusal(`Permission denied for method '${method}' and client '${name}'`);
      }
    }
    if (operator === self) {
      const internal = this.#internal.get(method);
      if (internal) {
        story.channel = "internal";
        return { result: await internal(call, deadline.signal) };
      }
    }
    const channel = this.#channelTo(operator);
    story.channel = channel.type;
    try {
      return await channel.deliver(call, deadline.signal);
    } catch (reason) {
      const answer = reason instanceof UnansweredFault && (await this.#pickUp(call, hungUp));
      if (answer) return answer;
      const fault = Fault.from(deadline.signal.aborted ? deadline.signal.reason : reason);
      if (fault.fault === "internal") throw fault;
      const message = `Channel ${channel.type} encountered an error delivering the message: ${fault.message}`;
      return { error: { code: 500, message, data: { fault: fault.fault } } };
    }
  }

  /**
   * A call that was sent may go on although we lost sight of it, by a broken connection or because its
   * time was up: its service may have acknowledged it. So the other endpoint is asked what became of it,
   * until it knows nothing or the promise has run out. An original knows of no such question.
   */
  async #pickUp({ address, caller }: Call, hungUp: AbortSignal): Promise<Answer | undefined> {
    const { operator } = address;
    const request = requestOf(address.call) ?? nanoid(REQUEST_ID_SIZE);
    const backoff = new Backoff(PICK_UP_PAUSE_MS);
    let patience_ms = REACHABLE_AGAIN_MS;
    this.#events.unanswered(address);
    for (const begun = performance.now(); performance.now() - begun < patience_ms; ) {
      using deadline = new Deadline(PICK_UP_MS, `picking up from ${operator}`, hungUp);
      try {
        const question: Call = {
          address: { operator, method: PICK_UP, call: withRequest(nanoid(), request) },
          params: { id: formatAddress(address) },
          caller,
          timings: new Timings(),
        };
        const told = await this.#channelTo(operator).deliver(question, deadline.signal);
        if (!told || "error" in told) return undefined;
        const { answer, pending } = PickedUp.parse(told.result);
        if (answer) return answer as Answer;
        if (!pending) return undefined;
        patience_ms = this.#settings.respond_timeout_ms;
        backoff.reset();
      } catch (reason) {
        if (hungUp.aborted || !UNHEARD.has(Fault.from(reason).fault)) return undefined;
        await backoff.wait(hungUp).catch(() => {});
      }
    }
    return undefined;
  }

  #channelTo(operator: string): Channel {
    const channel = this.#channels.find((candidate) => candidate.reaches(operator));
    if (channel) return channel;
    throw new Fault("unreachable", this.#whyUnreachable(operator));
  }

  #entry(name: string, whose: string): Entry {
    const entry = this.#directory.entry(name);
    if (entry) return entry;
    throw new Fault(
      "not_found",
      `error retrieving directory entry for ${whose}: no directory entry found`,
    );
  }

  #whyUnreachable(operator: string): string {
    const why =
      operator === this.#settings.self
        ? "no channel leads to a local service: add a jsonrpc_client channel"
        : `${operator} has no address to dial and is not connected to this endpoint at the moment`;
    return `no channel can deliver this request (${why})`;
  }
}

function refusal(message: string): Answer {
  return { error: { code: 403, message, data: { fault: "forbidden" } } };
}
