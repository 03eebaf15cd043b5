import type { Directory } from "../../directory/directory.ts";
import type { Answer } from "../../wire/answer.ts";
import type { Call, Channel } from "../channel.ts";
import type { Peers } from "../peers.ts";
import { routeTo } from "../route.ts";

/** Carries calls to operators that can be dialled, directly or through a proxy. */
export class GrpcClientChannel implements Channel {
  readonly type = "grpc_client";
  readonly #self: string;
  readonly #directory: Directory;
  readonly #peers: Peers;

  constructor({ self, directory, peers }: { self: string; directory: Directory; peers: Peers }) {
    this.#self = self;
    this.#directory = directory;
    this.#peers = peers;
  }

  reaches(operator: string): boolean {
    if (operator === this.#self) return false;
    const route = routeTo(this.#directory.entry(operator));
    return route !== undefined && !route.internal && route.proxy !== this.#self;
  }

  deliver({ address, params, caller, timings }: Call, signal: AbortSignal): Promise<Answer> {
    return this.#peers.call({ ...address, params, timings, source: caller.source }, signal);
  }
}
