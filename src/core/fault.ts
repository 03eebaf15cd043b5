/**
 * Every way a call, a circuit or a command can fail, and how each surface reports it.
 *
 * This table is the only place where a fault meets a number. Code throws a fault by name and never
 * learns whether its caller spoke JSON-RPC, gRPC or a shell. `jsonrpc` is the error code, `http` the
 * status it travels with (eps-protocol 5.1: an error is a 400 unless it is the server's own), `exit`
 * the exit code of a command that ends with it.
 */
export const FAULTS = {
  /** Not JSON, or not a request at all. */
  unreadable: { jsonrpc: -32700, http: 400, exit: 1 },
  /** A request that breaks the rules of its envelope. */
  invalid_request: { jsonrpc: -32600, http: 400, exit: 1 },
  unknown_method: { jsonrpc: -32601, http: 400, exit: 1 },
  /** Parameters, a record, a certificate or a file that is not what it should be. */
  malformed: { jsonrpc: -32602, http: 400, exit: 1 },
  /** Larger than a limit says. */
  too_large: { jsonrpc: -32600, http: 413, exit: 1 },
  forbidden: { jsonrpc: 403, http: 400, exit: 1 },
  not_found: { jsonrpc: 404, http: 400, exit: 1 },
  /** What was asked for contradicts what is there: a stale parent, a taken name. */
  conflict: { jsonrpc: 409, http: 400, exit: 1 },
  overloaded: { jsonrpc: 429, http: 400, exit: 1 },
  /** Nobody answers where somebody should. */
  unreachable: { jsonrpc: 503, http: 400, exit: 1 },
  /** Somebody was reached and did not answer in time. */
  timeout: { jsonrpc: 504, http: 400, exit: 1 },
  /** Somebody was reached and could not do it. */
  failed: { jsonrpc: 502, http: 400, exit: 1 },
  /** Settings that cannot be used. */
  settings: { jsonrpc: -32603, http: 500, exit: 2 },
  /** Our own bug. */
  internal: { jsonrpc: -32603, http: 500, exit: 1 },
} as const satisfies Record<string, { jsonrpc: number; http: number; exit: number }>;

type FaultName = keyof typeof FAULTS;

type FaultOptions = { cause?: unknown; detail?: Record<string, unknown> };

/** A named failure. Its message and `detail` are safe to show a stranger; `cause` is for the log only. */
export class Fault extends Error {
  override readonly name = "Fault";
  readonly fault: FaultName;
  readonly detail: Record<string, unknown> | undefined;

  constructor(fault: FaultName, message: string, { cause, detail }: FaultOptions = {}) {
    super(message, { cause });
    this.fault = fault;
    this.detail = detail;
  }

  /** Anything thrown that is not already a fault is our bug, so it becomes `internal`. */
  static from(reason: unknown): Fault {
    if (reason instanceof Fault) return reason;
    return new Fault("internal", "internal error", { cause: reason });
  }
}

/** What went wrong, in one line for a person: the message of an error and of the causes below it. */
export function explain(reason: unknown): string {
  if (!(reason instanceof Error)) return String(reason);
  const own =
    reason instanceof AggregateError && !reason.message
      ? reason.errors.map(explain).join("; ")
      : reason.message;
  if (reason.cause === undefined) return own;
  const below = explain(reason.cause);
  return own.includes(below) ? own : `${own}: ${below}`;
}
