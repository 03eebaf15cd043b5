import {
  type ClientRequest,
  request as httpRequest,
  type IncomingMessage,
  type InformationEvent,
  type OutgoingMessage,
  type ServerResponse,
  STATUS_CODES,
} from "node:http";
import { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { TLSSocket } from "node:tls";
import { Fault } from "../core/fault.ts";
import { reset as resetTcp } from "../net/reset.ts";
import {
  endToEnd,
  forwardedHeaders,
  hasBody,
  isPlainlyFramed,
  type Refusal,
  refusalOf,
  targetOf,
  trailersOf,
} from "./http-headers.ts";
import type { Upstream } from "./http-upstream.ts";

/** Takes over both sockets once the internal server has agreed to speak something else. */
type Upgraded = (answer: IncomingMessage, server: Duplex) => void;

/** Methods that may be asked twice without harm (RFC 9110 9.2.2). */
const IDEMPOTENT = new Set(["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"]);

const STALLED: Refusal = { status: 408, text: "The request did not arrive in time." };
const TOO_LARGE: Refusal = {
  status: 413,
  text: "The request's body is larger than is allowed here.",
};

/**
 * Passes one request to a server and its answer back, as they come: neither is ever held
 * whole, and whoever reads slowly slows down whoever writes. It is over when `response` closes.
 */
export function exchange(
  upstream: Upstream,
  request: IncomingMessage,
  response: ServerResponse,
  upgraded?: Upgraded,
): void {
  new Exchange(upstream, request, response, upgraded).open();
}

class Exchange {
  readonly #upstream: Upstream;
  readonly #request: IncomingMessage;
  readonly #response: ServerResponse;
  readonly #upgraded: Upgraded | undefined;
  #asked: ClientRequest | undefined;
  #answer: IncomingMessage | undefined;
  #timer: NodeJS.Timeout | undefined;
  /** The client holds its body back until the internal server says `100 Continue`. */
  #awaitsContinue: boolean;
  #over = false;
  #told = false;
  readonly #bytes = { client: 0, server: 0 };

  constructor(
    upstream: Upstream,
    request: IncomingMessage,
    response: ServerResponse,
    upgraded: Upgraded | undefined,
  ) {
    this.#upstream = upstream;
    this.#request = request;
    this.#response = response;
    this.#upgraded = upgraded;
    this.#awaitsContinue = request.headers.expect !== undefined;
  }

  open(): void {
    this.#request.on("error", () => {}); // the response closes as well, and that is what counts
    this.#response.on("error", () => {});
    this.#response.on("close", () => this.#closed());
    const { body_max = Number.POSITIVE_INFINITY } = this.#upstream;
    const length = Number(this.#request.headers["content-length"] ?? 0);
    const refusal =
      refusalOf(this.#request, this.#upgraded !== undefined) ??
      this.#upstream.refusal ??
      (length > body_max ? TOO_LARGE : undefined);
    if (refusal) this.#refuse(refusal);
    else this.#ask();
  }

  #ask(): void {
    let asked: ClientRequest;
    try {
      asked = this.#newRequest();
    } catch (reason) {
      // The way there is gone since; or node:http writes less than its parser reads.
      this.#refuse(
        reason instanceof Fault
          ? this.#upstream.refusals.unreachable(reason)
          : { status: 400, text: "The request cannot be passed on." },
      );
      return;
    }
    this.#asked = asked;
    asked.maxHeadersCount = 0; // their size is limited, so their number need not be
    asked.on("information", (interim) => this.#passInterim(interim));
    asked.on("response", (answer) => this.#passAnswer(answer));
    asked.on("upgrade", (answer, server, head) => this.#upgrade(answer, server, head));
    asked.on("error", (reason) => this.#failed(asked, reason));
    asked.on("socket", (socket) => {
      if (socket.connecting) socket.once("connect", () => this.#moved());
    });
    this.#moved();
    if (hasBody(this.#request)) this.#passBody(asked);
    else {
      this.#request.resume();
      asked.end();
    }
  }

  #newRequest(): ClientRequest {
    const { endpoint, host, path, says } = this.#upstream;
    const upgrades = this.#upgraded !== undefined;
    return httpRequest({
      ...endpoint,
      agent: this.#upstream.agent,
      method: this.#request.method ?? "GET",
      path: path ?? targetOf(this.#request)?.path ?? "/",
      headers: forwardedHeaders(this.#request, { host, upgrades, says }),
      insecureHTTPParser: false,
    });
  }

  #passBody(asked: ClientRequest): void {
    const request = this.#request;
    flushHead(asked); // the server may want to answer it before there is any body
    const { body_max = Number.POSITIVE_INFINITY } = this.#upstream;
    request.on("data", (chunk: Buffer) => {
      this.#bytes.client += chunk.length;
      if (this.#bytes.client > body_max) this.#refuse(TOO_LARGE);
      if (asked.destroyed) return; // nobody wants the rest, but the client may have to finish it
      this.#awaitsContinue = false;
      if (!asked.write(chunk)) request.pause();
      this.#moved();
    });
    asked.on("drain", () => {
      request.resume();
      this.#moved();
    });
    asked.on("close", () => request.resume());
    request.on("end", () => {
      if (asked.destroyed) return;
      this.#try(() => asked.addTrailers(trailersOf(request)));
      asked.end();
      this.#moved();
    });
  }

  /** 100 Continue, 103 Early Hints and their like (RFC 9110 15.2: a proxy passes them on). */
  #passInterim({ statusCode, statusMessage, rawHeaders }: InformationEvent): void {
    const { socket, headersSent } = this.#response;
    if (this.#over || headersSent || statusCode === 101) return;
    this.#moved();
    if (statusCode === 100) {
      this.#awaitsContinue = false;
      this.#response.writeContinue();
    } else if (this.#request.httpVersion !== "1.0") {
      socket?.write(head(statusCode, statusMessage, endToEnd(rawHeaders)));
    }
  }

  #passAnswer(answer: IncomingMessage): void {
    const response = this.#response;
    if (this.#over) return;
    this.#answer = answer;
    answer.on("error", () => this.#cut());
    const { statusCode = 0, statusMessage = "", rawHeaders } = answer;
    const fields = endToEnd(rawHeaders).flat();
    const usable =
      isPlainlyFramed(answer) &&
      this.#try(() => response.writeHead(statusCode, statusMessage, fields));
    if (!usable) {
      this.#upstream.missed(`its answer with status ${statusCode} cannot be passed on`);
      this.#refuse(this.#upstream.refusals.unusable);
      return;
    }
    this.#upstream.reached();
    flushHead(response);
    this.#moved();
    answer.on("data", (chunk: Buffer) => {
      this.#bytes.server += chunk.length;
      if (!response.write(chunk)) answer.pause();
      this.#moved();
    });
    response.on("drain", () => {
      answer.resume();
      this.#moved();
    });
    answer.on("end", () => {
      if (!answer.complete) {
        this.#cut();
        return;
      }
      this.#try(() => response.addTrailers(trailersOf(answer)));
      response.end();
      this.#moved();
    });
  }

  #upgrade(answer: IncomingMessage, server: Duplex, first: Buffer): void {
    server.on("error", () => {});
    if (this.#over || !this.#upgraded) {
      server.destroy();
      if (!this.#over) this.#refuse(this.#upstream.refusals.unusable);
      return;
    }
    this.#finish();
    this.#tell(101);
    this.#upstream.reached();
    if (first.length > 0) server.unshift(first);
    this.#upgraded(answer, server);
  }

  #failed(asked: ClientRequest, reason: unknown): void {
    // What happens to an answer that has begun, its own events tell.
    if (this.#over || this.#answer || asked !== this.#asked) return;
    if (asked.reusedSocket && !hasBody(this.#request) && IDEMPOTENT.has(asked.method)) {
      this.#ask(); // it hung up on an idle connection just when we took that one
    } else {
      this.#upstream.missed(reason);
      this.#refuse(this.#upstream.refusals.unreachable(reason));
    }
  }

  /** Something went on, so whoever is to move next has all the time again. */
  #moved(): void {
    clearTimeout(this.#timer);
    if (this.#over) return;
    const { timeout_ms, client_timeout_ms } = this.#upstream;
    this.#timer = this.#isClientsTurn()
      ? setTimeout(() => this.#refuse(STALLED), client_timeout_ms)
      : setTimeout(() => this.#silent(), timeout_ms);
  }

  #isClientsTurn(): boolean {
    if (this.#answer?.complete && this.#response.writableEnded) return true;
    if (this.#response.writableNeedDrain) return true;
    const isOwed = hasBody(this.#request) && !this.#request.complete && !this.#awaitsContinue;
    return isOwed && this.#asked?.writableNeedDrain !== true;
  }

  #silent(): void {
    const isConnected = this.#asked?.socket?.connecting === false;
    const { refusals, timeout_ms } = this.#upstream;
    const why = `it was silent for ${timeout_ms / 1000} s`;
    this.#upstream.missed(why);
    this.#refuse(isConnected ? refusals.silent : refusals.unreachable(why));
  }

  /** Answers in place of the internal server; where its answer has begun, all that is left is to break off. */
  #refuse({ status, text }: Refusal): void {
    if (this.#over) return;
    if (this.#response.headersSent) {
      this.#cut();
      return;
    }
    this.#finish();
    this.#asked?.destroy();
    // A client that still sends is heard to its end: hanging up on it would lose the answer.
    this.#request.resume();
    if (status === 408) this.#response.shouldKeepAlive = false;
    // Said in full: a reason that could not be written before is still in the response.
    this.#response.writeHead(status, STATUS_CODES[status] ?? "", {
      "Content-Type": "text/plain; charset=utf-8",
      "Content-Length": Buffer.byteLength(`${text}\n`),
    });
    this.#response.end(`${text}\n`);
  }

  /** The answer broke off, and the client must not take that for its end. */
  #cut(): void {
    if (this.#over) return;
    this.#finish();
    this.#asked?.destroy();
    if (this.#response.socket) reset(this.#response.socket);
  }

  /** The client has the whole answer, or is gone. */
  #closed(): void {
    this.#finish();
    this.#tell(this.#response.statusCode);
    if (!this.#response.writableFinished || !this.#asked?.writableFinished) this.#asked?.destroy();
  }

  #tell(status: number): void {
    if (this.#told) return;
    this.#told = true;
    this.#upstream.over?.({
      status: status === 101 || this.#response.headersSent ? status : 0,
      cut: status !== 101 && !this.#response.writableFinished,
      bytes_from_client: this.#bytes.client,
      bytes_from_server: this.#bytes.server,
    });
  }

  #finish(): void {
    this.#over = true;
    clearTimeout(this.#timer);
  }

  /** node:http throws at fields that its own parser let through. */
  #try(work: () => unknown): boolean {
    try {
      work();
      return true;
    } catch {
      return false;
    }
  }
}

/** Sends the header before there is any body. `flushHeaders` would send it as UTF-8, which changes bytes above 127. */
function flushHead(message: OutgoingMessage): void {
  message.write("", "latin1");
}

/** The bytes of an answer's header. */
export function head(
  status: number,
  message: string,
  fields: ReadonlyArray<readonly [string, string]>,
): Buffer {
  const lines = fields.map(([name, value]) => `${name}: ${value}\r\n`);
  return Buffer.from(`HTTP/1.1 ${status} ${message}\r\n${lines.join("")}\r\n`, "latin1");
}

/**
 * Breaks a socket off in a way its peer cannot take for an end. Only TCP knows a reset: TLS is
 * destroyed without its closing alert, and with an error that tells the owner of the socket below.
 */
export function reset(socket: Duplex): void {
  const isTcp = socket instanceof Socket && !(socket instanceof TLSSocket) && socket.remoteFamily;
  if (isTcp) resetTcp(socket);
  else socket.destroy(new Error("the other side broke off"));
}
