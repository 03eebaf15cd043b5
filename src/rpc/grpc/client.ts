import type { Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import {
  CallCredentials,
  ChannelCredentials,
  type Client,
  type ClientDuplexStream,
  connectivityState,
  type ServiceError,
  status,
} from "@grpc/grpc-js";
import { Fault } from "../../core/fault.ts";
import { type Endpoint, formatEndpoint } from "../../wire/endpoint.ts";
import { KEEPALIVE, MESSAGE_MAX } from "./limits.ts";
import { Eps, type WireRequest, type WireResponse } from "./messages.ts";

/** The client's end of a reverse stream: responses out, requests in. */
type ServedStream = ClientDuplexStream<WireResponse, WireRequest>;

type EpsClient = Client & {
  Call(
    request: WireRequest,
    done: (error: ServiceError | null, response: WireResponse) => void,
  ): { cancel(): void };
  ServerCall(): ServedStream;
};

/**
 * One gRPC connection over one socket. It never reconnects: a one-time token cannot be shown twice,
 * so whoever wants another connection asks for another token and opens another of these.
 */
export class GrpcConnection {
  readonly #client: EpsClient;
  readonly #credentials: OneSocket;
  #closed = false;

  /**
   * Dials `endpoint`, an address that is already resolved, with the first call. `secure` gets the
   * connected socket, says what has to be said on it and brings back the TLS socket on top of it.
   */
  constructor(
    { endpoint, name }: { endpoint: Endpoint; name: string },
    secure: (socket: Socket) => Promise<TLSSocket>,
  ) {
    this.#credentials = new OneSocket(secure);
    const family = endpoint.host.includes(":") ? "ipv6" : "ipv4";
    this.#client = new Eps(`${family}:${formatEndpoint(endpoint)}`, this.#credentials, {
      ...KEEPALIVE,
      "grpc.default_authority": name,
      "grpc.max_receive_message_length": MESSAGE_MAX,
      "grpc.max_send_message_length": MESSAGE_MAX,
      "grpc.enable_http_proxy": 0,
      "grpc.enable_retries": 0,
      "grpc.service_config_disable_resolution": 1,
      "grpc.use_local_subchannel_pool": 1,
    }) as unknown as EpsClient;
  }

  /** Dials now, before there is a call. */
  dial(): void {
    this.#client.getChannel().getConnectivityState(true);
  }

  /** False once the socket is gone, was refused, or either side has asked to close. */
  get usable(): boolean {
    if (this.#closed || this.#credentials.over) return false;
    const state = this.#client.getChannel().getConnectivityState(false);
    // Asked to close (GOAWAY), the library lets go of the connection and would dial another.
    if (state === connectivityState.IDLE) return !this.#credentials.secured;
    return state !== connectivityState.TRANSIENT_FAILURE && state !== connectivityState.SHUTDOWN;
  }

  /**
   * Brings back the response, or throws a fault: `SpentFault` if the call certainly never ran,
   * `UnansweredFault` if it may have.
   */
  call(request: WireRequest, signal: AbortSignal): Promise<WireResponse> {
    return new Promise((resolve, reject) => {
      signal.throwIfAborted();
      if (this.#credentials.secured && !this.usable) throw new SpentFault();
      const call = this.#client.Call(request, (error, response) => {
        signal.removeEventListener("abort", cancel);
        if (!error) resolve(response);
        else reject(this.#unanswered(signal.aborted ? signal.reason : this.#faultOf(error)));
      });
      const cancel = (): void => call.cancel();
      signal.addEventListener("abort", cancel, { once: true });
    });
  }

  reverse(): ServedStream {
    return this.#client.ServerCall();
  }

  /** Why a stream of this connection ended, as a fault. */
  faultOf(error: unknown): Fault {
    return this.#faultOf(error as ServiceError);
  }

  close(): void {
    this.#closed = true;
    this.#client.close();
  }

  #unanswered(reason: unknown): unknown {
    const mayHaveRun =
      this.#credentials.secured &&
      reason instanceof Fault &&
      !(reason instanceof SpentFault) &&
      ["unreachable", "timeout"].includes(reason.fault);
    return mayHaveRun ? new UnansweredFault(reason) : reason;
  }

  #faultOf(error: ServiceError): Fault {
    const { code, details } = error;
    const { failure } = this.#credentials;
    if (failure && code === status.UNAVAILABLE) return failure;
    if (code === status.UNAVAILABLE && NEVER_SENT.test(details)) return new SpentFault();
    const name = FAULT_OF_STATUS[code] ?? "failed";
    return new Fault(name, (details || error.message).replace(DIAL_ERROR, "$1"));
  }
}

/** The fault of a connection whose only socket is gone: the call was never sent. */
export class SpentFault extends Fault {
  constructor() {
    super("unreachable", "the connection is over");
  }
}

/** The fault of a call that was sent and never answered, so that nobody here knows whether it ran. */
export class UnansweredFault extends Fault {
  constructor({ fault, message, cause }: Fault) {
    super(fault, message, { cause });
  }
}

/**
 * What grpc-js says of a call that the server took no notice of (RFC 9113 8.7: safe to send again),
 * and of one for which the connection was closing already.
 */
const NEVER_SENT =
  /^(Stream refused by server|No connection established\b.*\bthe connection is over\b)/s;

/** How grpc-js wraps what its dialling ran into. */
const DIAL_ERROR =
  /^No connection established\. Last error: (?:Error: )?(.*?)\.? Resolution note:.*$/s;

const FAULT_OF_STATUS: Partial<Record<status, "unreachable" | "timeout" | "too_large">> = {
  [status.UNAVAILABLE]: "unreachable",
  [status.CANCELLED]: "unreachable",
  [status.DEADLINE_EXCEEDED]: "timeout",
  [status.RESOURCE_EXHAUSTED]: "too_large",
};

type Connector = ReturnType<ChannelCredentials["_createSecureConnector"]>;

/**
 * Credentials for exactly one socket. The underscored methods are public in grpc-js' types and its
 * only way to speak before TLS; a contract test holds them in place when the library is updated.
 */
class OneSocket extends ChannelCredentials {
  /** Why there never was a connection, if securing the socket failed. */
  failure: Fault | undefined;
  /** Calls have gone out by this socket. */
  secured = false;
  /** No call can go out by this socket (any more). */
  over = false;
  readonly #secure: (socket: Socket) => Promise<TLSSocket>;
  #used = false;

  constructor(secure: (socket: Socket) => Promise<TLSSocket>) {
    super();
    this.#secure = secure;
  }

  override _isSecure(): boolean {
    return true;
  }

  override _equals(other: ChannelCredentials): boolean {
    return other === this;
  }

  override _createSecureConnector(): Connector {
    return {
      connect: async (socket) => {
        // Not a failure of the calls under way on the socket that we had: these were sent.
        if (this.#used) throw new SpentFault();
        this.#used = true;
        try {
          const socketAbove = await this.#secure(socket);
          socketAbove.once("close", () => {
            this.over = true;
          });
          this.secured = true;
          return { socket: socketAbove, secure: true };
        } catch (reason) {
          this.over = true;
          this.failure = Fault.from(reason);
          throw reason;
        }
      },
      waitForReady: async () => {},
      getCallCredentials: () => CallCredentials.createEmpty(),
      destroy: () => {},
    };
  }
}
