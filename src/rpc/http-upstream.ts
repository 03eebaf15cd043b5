import type { Agent } from "node:http";
import type { Endpoint } from "../wire/endpoint.ts";
import type { Field, Refusal } from "./http-headers.ts";

/** The server that a request is passed to. */
export type Upstream = {
  endpoint: Endpoint;
  /** What it is called in `Host`. */
  host: string;
  /** Read for each attempt. */
  readonly agent: Agent;
  /** How long it may be silent. */
  timeout_ms: number;
  /** How long the client may be silent while it is its turn. */
  client_timeout_ms: number;
  /** Nothing is passed on, and this is the answer. */
  refusal?: Refusal | undefined;
  /** What to ask for, if that is not what the client asked for. */
  path?: string;
  /** Said of who asked, in place of what the client says of it; without it the client's word is passed on. */
  says?: readonly Field[];
  /** Bytes of a request's body. */
  body_max?: number;
  /** What the client hears when there is no answer. */
  refusals: {
    unreachable(why: unknown): Refusal;
    unusable: Refusal;
    silent: Refusal;
  };
  /** Told of every answer, and of every request that got none. */
  reached(): void;
  missed(why: unknown): void;
  /** Told once, when the exchange is over or has become something else. */
  over?(record: ExchangeRecord): void;
};

/** What became of a request. `cut` if its answer broke off, or the client left before its end. */
export type ExchangeRecord = {
  status: number;
  cut: boolean;
  bytes_from_client: number;
  bytes_from_server: number;
};
