import { status } from "@grpc/grpc-js";
import { Fault } from "../../core/fault.ts";
import type { Leaf } from "../../net/tls.ts";
import { UnansweredFault } from "../../rpc/grpc/client.ts";
import { fitting, fromWire, type WireResponse } from "../../rpc/grpc/messages.ts";
import type { ReverseStream } from "../../rpc/grpc/server.ts";
import { type Address, formatAddress } from "../../wire/address.ts";
import type { Answer } from "../../wire/answer.ts";
import type { JsonObject } from "../../wire/json.ts";
import { toStruct } from "../../wire/struct.ts";

/** Calls that one operator may have open on its stream. */
const WAITING_MAX = 1_000;

type Waiting = { resolve(answer: Answer): void; reject(fault: Fault): void };

/**
 * An operator that keeps a reverse stream to us. Answers are matched to calls by id, so one that
 * comes late, or never, is nobody else's.
 */
export class ConnectedClient {
  readonly closed: Promise<void>;
  readonly name: string;
  /** The certificate that proved the name. */
  readonly leaf: Leaf;
  readonly #stream: ReverseStream;
  readonly #waiting = new Map<string, Waiting>();

  /** Takes over a stream whose announcement has been read. */
  constructor(name: string, leaf: Leaf, stream: ReverseStream) {
    this.name = name;
    this.leaf = leaf;
    this.#stream = stream;
    stream.on("data", (response: WireResponse) => this.#settle(response));
    this.closed = new Promise((resolve) => {
      const close = (): void => {
        const fault = new Fault("unreachable", `client disconnected: ${name} went away`);
        for (const { reject } of this.#waiting.values()) reject(new UnansweredFault(fault));
        this.#waiting.clear();
        resolve();
      };
      stream.once("cancelled", close).once("close", close).once("error", close);
      // A client that ends its side is told so with an error: an original takes a clean end for a pause.
      stream.once("end", () => this.end(status.UNAVAILABLE, "the stream was ended by the client"));
    });
  }

  async call(
    { address, params, from }: { address: Address; params: JsonObject; from: string },
    signal: AbortSignal,
  ): Promise<Answer> {
    const { operator, method } = address;
    const id = formatAddress(address);
    if (this.#waiting.size >= WAITING_MAX) {
      throw new Fault("overloaded", `${WAITING_MAX} calls already wait for ${this.name}`);
    }
    if (this.#waiting.has(id)) throw new Fault("conflict", `${id} is already being processed`);
    const request = fitting({
      id,
      method: `${operator}.${method}`,
      params: toStruct(params),
      clientName: from,
    });
    return await new Promise((resolve, reject) => {
      signal.throwIfAborted();
      const settle = (): void => {
        this.#waiting.delete(id);
        signal.removeEventListener("abort", abort);
      };
      const abort = (): void => {
        settle();
        reject(new UnansweredFault(Fault.from(signal.reason)));
      };
      this.#waiting.set(id, {
        resolve: (answer) => {
          settle();
          resolve(answer);
        },
        reject: (fault) => {
          settle();
          reject(fault);
        },
      });
      signal.addEventListener("abort", abort, { once: true });
      this.#stream.write(request);
    });
  }

  /** Ends the stream, never with OK: an original client would take that for a pause and wait for ever. */
  end(code: Exclude<status, status.OK>, details: string): void {
    this.#stream.emit("error", { code, details });
  }

  #settle(response: WireResponse): void {
    this.#waiting.get(response.id)?.resolve(fromWire(response));
  }
}
