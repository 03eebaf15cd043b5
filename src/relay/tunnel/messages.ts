/**
 * Tunnels of version 1: each request and each answer is one message, whole (seed-systems 1.5). What a
 * message cannot carry, as an answer that never ends or another protocol, is refused.
 *
 * Within this process both sides are connections like any other: ours asks over one whose other end
 * turns requests into messages, and a message that asks becomes a request on one that is served.
 */
import { isUtf8 } from "node:buffer";
import { randomUUID } from "node:crypto";
import {
  createServer,
  request as httpRequest,
  type IncomingMessage,
  type ServerResponse,
} from "node:http";
import type { Duplex } from "node:stream";
import { explain, Fault } from "../../core/fault.ts";
import { endToEnd, type Field } from "../../rpc/http-headers.ts";
import { decodeWest, encodeWest, type WestMessage } from "../../wire/west.ts";
import { connectionPair } from "./connection.ts";
import type { Link } from "./link.ts";
import { type Tunnel, TunnelAgent, type TunnelDeps, type TunnelOptions } from "./tunnel.ts";

/** What a message leaves out: it says itself how long its body is, and the body is already there. */
const LEFT_OUT = new Set(["transfer-encoding", "content-length", "expect"]);

type Answer = Pick<WestMessage, "start" | "fields" | "body">;

export function openMessages(link: Link, options: TunnelOptions, deps: TunnelDeps): Tunnel {
  const asker = new Asker(link, options);
  let serving = 0;
  const serve = async (message: WestMessage): Promise<void> => {
    serving += 1;
    try {
      const answer =
        serving > options.streams_max
          ? plainly(503, "This tunnel has too many requests under way.")
          : await fetched(message, options, deps);
      const { origin, id } = message;
      send(link, { origin, id, ...answer });
    } finally {
      serving -= 1;
    }
  };
  link.onMessage((bytes) => {
    try {
      const message = decodeWest(bytes);
      deps.log.debug({ id: message.id, bytes: bytes.length }, "message");
      if (asker.hear(message)) return;
      if (message.start.kind === "request") void serve(message);
      else deps.log.debug({ id: message.id }, "an answer that nobody waits for any more");
    } catch (reason) {
      deps.log.warn({ reason: explain(reason) }, "a message of a tunnel makes no sense");
    }
  });
  void link.closed.then(() => asker.cut());
  return {
    version: 1,
    link,
    agent: new TunnelAgent(() => asker.open(), { keepAlive: false, max: options.streams_max }),
    async [Symbol.asyncDispose]() {
      await deps[Symbol.asyncDispose]();
      await link.close();
    },
  };
}

/** As text where it is text, which is all that an original sends. */
function send(link: Link, message: WestMessage): void {
  const bytes = encodeWest(message);
  link.send(bytes, !isUtf8(bytes));
}

/** Turns what is asked on its connections into messages, and gives each the answer that is its own. */
class Asker {
  readonly #link: Link;
  readonly #options: TunnelOptions;
  readonly #server = createServer({
    insecureHTTPParser: false,
    requestTimeout: 0,
    headersTimeout: 0,
  });
  readonly #connections = new Set<Duplex>();
  readonly #waiting = new Map<string, (answer: Answer) => void>();

  constructor(link: Link, options: TunnelOptions) {
    this.#link = link;
    this.#options = options;
    const ask = (request: IncomingMessage, response: ServerResponse): void => {
      void this.#ask(request, response).catch(() => response.destroy());
    };
    this.#server.maxHeadersCount = 0;
    this.#server.on("request", ask);
    this.#server.on("checkContinue", (request, response) => {
      response.writeContinue();
      ask(request, response);
    });
    this.#server.on("upgrade", (_, socket: Duplex) => {
      const text = "A tunnel of version 1 carries no other protocols.\n";
      const head = ["HTTP/1.1 501 Not Implemented", `Content-Length: ${text.length}`];
      socket.end(`${head.join("\r\n")}\r\nConnection: close\r\n\r\n${text}`);
    });
  }

  open() {
    if (!this.#link.open) throw new Fault("unreachable", "the tunnel is closed");
    const [ours, theirs] = connectionPair();
    this.#connections.add(theirs);
    theirs.on("error", () => {});
    theirs.once("close", () => this.#connections.delete(theirs));
    this.#server.emit("connection", theirs);
    return ours;
  }

  /** True if it is the answer to something that was asked here. */
  hear({ id, start, fields, body }: WestMessage): boolean {
    const answer = this.#waiting.get(id);
    if (!answer) return false;
    const usable = start.kind === "answer" && start.status >= 200;
    answer(usable ? { start, fields, body } : plainly(502, "The other side's answer is none."));
    return true;
  }

  cut(): void {
    for (const connection of this.#connections) connection.destroy();
  }

  async #ask(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { name: origin, message_max } = this.#options;
    const { method = "GET", url: path = "/" } = request;
    const body = await collected(request, message_max);
    if (!body) {
      await answerWith(response, method, plainly(413, TOO_LARGE));
      request.resume();
      return;
    }
    const id = randomUUID();
    const fields = endToEnd(request.rawHeaders).filter(isCarried);
    if (body.length > 0 || request.headers["content-length"] !== undefined)
      fields.push(["content-length", String(body.length)]);
    const answer = new Promise<Answer>((resolve, reject) => {
      this.#waiting.set(id, resolve);
      response.once("close", () => reject(new Error("nobody waits for the answer")));
    });
    try {
      send(this.#link, { origin, id, start: { kind: "request", method, path }, fields, body });
      await answerWith(response, method, await answer);
    } finally {
      this.#waiting.delete(id);
    }
  }
}

const TOO_LARGE = "The request's body is larger than a tunnel of version 1 may carry.";

async function answerWith(
  response: ServerResponse,
  method: string,
  { start, fields, body }: Answer,
): Promise<void> {
  if (start.kind !== "answer") return;
  const { status, reason } = start;
  const kept = endToEnd(fields.flat()).filter(([name]) => {
    return isBodyless(method, status) ? name !== "transfer-encoding" : isCarried([name, ""]);
  });
  if (!isBodyless(method, status)) kept.push(["content-length", String(body.length)]);
  response.writeHead(status, reason, kept.flat());
  response.end(isBodyless(method, status) ? undefined : body);
}

/**
 * Asks the one who serves us for what a message asks, and makes a message of the answer, which has to be
 * whole by when the asker stops waiting for its beginning.
 */
async function fetched(
  { start, fields, body }: WestMessage,
  { message_max, timeout_ms }: TunnelOptions,
  { accept }: TunnelDeps,
): Promise<Answer> {
  if (start.kind !== "request") return plainly(400, "This is no request.");
  const { method, path } = start;
  const [ours, theirs] = connectionPair();
  accept(theirs);
  let isLate = false;
  const timer = setTimeout(() => {
    isLate = true;
    ours.destroy();
  }, timeout_ms);
  try {
    const headers = endToEnd(fields.flat()).filter(isCarried);
    const length = fields.some(([name]) => LEFT_OUT.has(name)) || body.length > 0;
    if (length) headers.push(["content-length", String(body.length)]);
    const asked = httpRequest({
      createConnection: () => ours,
      method,
      path,
      headers: headers.flat(),
      setHost: false,
    });
    const answered = new Promise<IncomingMessage>((resolve, reject) => {
      asked.once("response", resolve).once("error", reject);
      asked.once("upgrade", () => reject(new Error("it speaks another protocol")));
    });
    asked.end(body);
    const answer = await answered;
    const { statusCode: status = 502, statusMessage: reason = "", rawHeaders } = answer;
    const bodyless = isBodyless(method, status);
    const whole = await collected(answer, message_max);
    if (!whole) return plainly(502, "The answer is larger than a tunnel of version 1 may carry.");
    const carried = endToEnd(rawHeaders).filter((field) => bodyless || isCarried(field));
    if (!bodyless) carried.push(["content-length", String(whole.length)]);
    return { start: { kind: "answer", status, reason }, fields: carried, body: whole };
  } catch {
    if (isLate) return plainly(504, "The answer was not whole in time.");
    return plainly(502, "The other side broke off.");
  } finally {
    clearTimeout(timer);
    ours.destroy();
  }
}

/** Undefined if it is too long. Throws if it breaks off. */
async function collected(message: IncomingMessage, max: number): Promise<Buffer | undefined> {
  const chunks: Buffer[] = [];
  let size = 0;
  return await new Promise((resolve, reject) => {
    message.on("data", (chunk: Buffer) => {
      size += chunk.length;
      if (size > max) resolve(undefined);
      else chunks.push(chunk);
    });
    message.once("end", () => resolve(Buffer.concat(chunks)));
    message.once("error", reject);
    message.once("close", () => reject(new Error("it broke off")));
  });
}

function plainly(status: number, text: string): Answer {
  return {
    start: { kind: "answer", status, reason: "" },
    fields: [["content-type", "text/plain; charset=utf-8"]],
    body: Buffer.from(`${text}\n`),
  };
}

function isCarried([name]: Field): boolean {
  return !LEFT_OUT.has(name.toLowerCase());
}

function isBodyless(method: string, status: number): boolean {
  return method === "HEAD" || status === 204 || status === 304;
}
