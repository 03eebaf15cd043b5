import { nanoid } from "nanoid";
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

  deliver({ address, params }: Call, signal: AbortSignal): Promise<Answer> {
    const { operator, method, call } = address;
    // An original callee tells calls apart by id alone, whoever sent them, so ours are unique.
    return this.#peers.call({ operator, method, call: `${call}~${nanoid(10)}`, params }, signal);
  }
}
