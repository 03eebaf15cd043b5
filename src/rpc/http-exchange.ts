import {
  type Agent,
  type ClientRequest,
  request as httpRequest,
  type IncomingMessage,
  type InformationEvent,
  type OutgoingMessage,
  type ServerResponse,
} from "node:http";
import { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { TLSSocket } from "node:tls";
import { reset as resetTcp } from "../net/reset.ts";
import type { Endpoint } from "../wire/endpoint.ts";
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

/** The one server that requests are passed to. */
export type Internal = {
  endpoint: Endpoint;
  /** What it is called in `Host`. */
  host: string;
  agent: Agent;
  /** How long it may be silent. */
  timeout_ms: number;
  /** How long the client may be silent while it is its turn. */
  client_timeout_ms: number;
  /** Told of every answer, and of every request that got none. */
  reached(): void;
  missed(why: unknown): void;
};

/** Takes over both sockets once the internal server has agreed to speak something else. */
type Upgraded = (answer: IncomingMessage, server: Duplex) => void;

/** Methods that may be asked twice without harm (RFC 9110 9.2.2). */
const IDEMPOTENT = new Set(["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"]);

const UNREACHABLE: Refusal = {
  status: 502,
  text: "The internal server cannot be reached. See internal_endpoint.address in the settings of the proxy.",
};
const UNUSABLE: Refusal = {
  status: 502,
  text: "The internal server's answer cannot be passed on. See internal_endpoint.address in the settings of the proxy.",
};
const SILENT: Refusal = {
  status: 504,
  text: "The internal server did not answer in time. See internal_endpoint.timeout in the settings of the proxy.",
};
const STALLED: Refusal = { status: 408, text: "The request did not arrive in time." };

/**
 * Passes one request to the internal server and its answer back, as they come: neither is ever held
 * whole, and whoever reads slowly slows down whoever writes. It is over when `response` closes.
 */
export function exchange(
  internal: Internal,
  request: IncomingMessage,
  response: ServerResponse,
  upgraded?: Upgraded,
): void {
  new Exchange(internal, request, response, upgraded).open();
}

class Exchange {
  readonly #internal: Internal;
  readonly #request: IncomingMessage;
  readonly #response: ServerResponse;
  readonly #upgraded: Upgraded | undefined;
  #asked: ClientRequest | undefined;
  #answer: IncomingMessage | undefined;
  #timer: NodeJS.Timeout | undefined;
  /** The client holds its body back until the internal server says `100 Continue`. */
  #awaitsContinue: boolean;
  #over = false;

  constructor(
    internal: Internal,
    request: IncomingMessage,
    response: ServerResponse,
    upgraded: Upgraded | undefined,
  ) {
    this.#internal = internal;
    this.#request = request;
    this.#response = response;
    this.#upgraded = upgraded;
    this.#awaitsContinue = request.headers.expect !== undefined;
  }

  open(): void {
    this.#request.on("error", () => {}); // the response closes as well, and that is what counts
    this.#response.on("error", () => {});
    this.#response.on("close", () => this.#closed());
    const refusal = refusalOf(this.#request, this.#upgraded !== undefined);
    if (refusal) this.#refuse(refusal);
    else this.#ask();
  }

  #ask(): void {
    const asked = this.#newRequest();
    if (!asked) {
      this.#refuse({ status: 400, text: "The request cannot be passed on." });
      return;
    }
    this.#asked = asked;
    asked.maxHeadersCount = 0; // their size is limited, so their number need not be
    asked.on("information", (interim) => this.#passInterim(interim));
    asked.on("response", (answer) => this.#passAnswer(answer));
    asked.on("upgrade", (answer, server, head) => this.#upgrade(answer, server, head));
    asked.on("error", (reason) => this.#failed(asked, reason));
    asked.on("socket", (socket) => socket.once("connect", () => this.#moved()));
    this.#moved();
    if (hasBody(this.#request)) this.#passBody(asked);
    else {
      this.#request.resume();
      asked.end();
    }
  }

  #newRequest(): ClientRequest | undefined {
    const { endpoint, agent, host } = this.#internal;
    const upgrades = this.#upgraded !== undefined;
    try {
      return httpRequest({
        ...endpoint,
        agent,
        method: this.#request.method ?? "GET",
        path: targetOf(this.#request)?.path ?? "/",
        headers: forwardedHeaders(this.#request, { host, upgrades }),
        insecureHTTPParser: false,
      });
    } catch {
      return undefined; // node:http writes less than its parser reads
    }
  }

  #passBody(asked: ClientRequest): void {
    const request = this.#request;
    flushHead(asked); // the server may want to answer it before there is any body
    request.on("data", (chunk: Buffer) => {
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
      this.#internal.missed(`its answer with status ${statusCode} cannot be passed on`);
      this.#refuse(UNUSABLE);
      return;
    }
    this.#internal.reached();
    flushHead(response);
    this.#moved();
    answer.on("data", (chunk: Buffer) => {
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
      if (!this.#over) this.#refuse(UNUSABLE);
      return;
    }
    this.#finish();
    this.#internal.reached();
    if (first.length > 0) server.unshift(first);
    this.#upgraded(answer, server);
  }

  #failed(asked: ClientRequest, reason: unknown): void {
    // What happens to an answer that has begun, its own events tell.
    if (this.#over || this.#answer || asked !== this.#asked) return;
    if (asked.reusedSocket && !hasBody(this.#request) && IDEMPOTENT.has(asked.method)) {
      this.#ask(); // it hung up on an idle connection just when we took that one
    } else {
      this.#internal.missed(reason);
      this.#refuse(UNREACHABLE);
    }
  }

  /** Something went on, so whoever is to move next has all the time again. */
  #moved(): void {
    clearTimeout(this.#timer);
    if (this.#over) return;
    const { timeout_ms, client_timeout_ms } = this.#internal;
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
    this.#internal.missed(`it was silent for ${this.#internal.timeout_ms / 1000} s`);
    this.#refuse(isConnected ? SILENT : UNREACHABLE);
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
    this.#response.writeHead(status, {
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
    if (!this.#response.writableFinished || !this.#asked?.writableFinished) this.#asked?.destroy();
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
