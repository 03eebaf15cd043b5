import { Fault } from "../core/fault.ts";
import type { Directory } from "../directory/directory.ts";
import { clientEntry, type Entry } from "../directory/entry.ts";
import { mayCall } from "../directory/permissions.ts";
import { type Address, formatAddress } from "../wire/address.ts";
import type { Answer } from "../wire/answer.ts";
import type { Json, JsonObject } from "../wire/json.ts";
import type { Call, Channel } from "./channel.ts";

/** A method that the endpoint answers itself, such as `_ping`. */
export type InternalMethod = (call: Call, signal: AbortSignal) => Promise<Json> | Json;

type Message = { address: Address; params: JsonObject; caller: string };

/** Calls that may be under way at once; past that, callers are told to come back. */
const IN_FLIGHT_MAX = 10_000;

/** Decides whether a call may pass, and which channel carries it (eps-protocol 4.2). */
export class Broker {
  readonly #self: string;
  readonly #directory: Directory;
  readonly #channels: Channel[] = [];
  readonly #internal = new Map<string, InternalMethod>();
  readonly #inFlight = new Set<string>();

  constructor({ self, directory }: { self: string; directory: Directory }) {
    this.#self = self;
    this.#directory = directory;
  }

  /** Channels are asked in the order in which they were added. */
  add(channel: Channel): void {
    this.#channels.push(channel);
  }

  answer(method: string, answer: InternalMethod): void {
    this.#internal.set(method, answer);
  }

  /**
   * Delivers one call and brings back its answer. What the caller did wrong, and what nobody here
   * can deliver, is a fault; what a channel could not deliver is an error answer with code 500, and
   * a missing permission one with code 403.
   */
  async deliver(message: Message, signal: AbortSignal): Promise<Answer | undefined> {
    const id = `${message.caller}\n${formatAddress(message.address)}`;
    if (this.#inFlight.has(id)) {
      const call = formatAddress(message.address);
      throw new Fault("conflict", `request ${call} is already being processed`);
    }
    if (this.#inFlight.size >= IN_FLIGHT_MAX) {
      throw new Fault("overloaded", `${IN_FLIGHT_MAX} calls are under way here, try again later`);
    }
    this.#inFlight.add(id);
    try {
      await this.#directory.ready(signal);
      return await this.#route(message, signal);
    } finally {
      this.#inFlight.delete(id);
    }
  }

  async #route(message: Message, signal: AbortSignal): Promise<Answer | undefined> {
    const { address, caller: name } = message;
    const entry = this.#entry(name, `client '${name}'`);
    const own = this.#entry(this.#self, `our own name '${this.#self}'`);
    this.#entry(address.operator, `recipient '${address.operator}'`);
    const client = clientEntry(entry) as unknown as JsonObject;
    const params = { ...message.params, _client: { name, entry: client } };
    const call: Call = { address, params, caller: { name, entry } };

    if (name !== this.#self) {
      if (address.operator !== this.#self) {
        return refusal(
          `${this.#self} does not pass on calls of others, call ${address.operator} directly`,
        );
      }
      if (!mayCall(entry, own, address.method)) {
        return refusal(`Permission denied for method '${address.method}' and client '${name}'`);
      }
    }
    if (address.operator === this.#self) {
      const internal = this.#internal.get(address.method);
      if (internal) return { result: await internal(call, signal) };
    }
    const channel = this.#channels.find((candidate) => candidate.reaches(address.operator));
    if (!channel) throw new Fault("unreachable", this.#whyUnreachable(address.operator));
    return this.#deliverBy(channel, call, signal);
  }

  async #deliverBy(channel: Channel, call: Call, signal: AbortSignal): Promise<Answer | undefined> {
    try {
      return await channel.deliver(call, signal);
    } catch (reason) {
      const fault = Fault.from(signal.aborted ? signal.reason : reason);
      if (fault.fault === "internal") throw fault;
      const message = `Channel ${channel.type} encountered an error delivering the message: ${fault.message}`;
      return { error: { code: 500, message, data: { fault: fault.fault } } };
    }
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
      operator === this.#self
        ? "no channel leads to a local service: add a jsonrpc_client channel"
        : `${operator} has no address to dial and is not connected to this endpoint at the moment`;
    return `no channel can deliver this request (${why})`;
  }
}

function refusal(message: string): Answer {
  return { error: { code: 403, message, data: { fault: "forbidden" } } };
}
