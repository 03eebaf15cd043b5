import { nanoid } from "nanoid";
import * as z from "zod";
import { Fault } from "../../core/fault.ts";
import type { Log } from "../../core/log.ts";
import type { Directory } from "../../directory/directory.ts";
import type { Listener } from "../../net/listen.ts";
import type { RpcEvents } from "../../rpc/events.ts";
import { type Exchange, openJsonrpcServer } from "../../rpc/jsonrpc/server.ts";
import { isCallId, parseMethod } from "../../wire/address.ts";
import { type Answer, faultAnswer } from "../../wire/answer.ts";
import { callIdText, REQUEST_ID_SIZE, requestOf, withRequest } from "../../wire/call-id.ts";
import type { JsonObject } from "../../wire/json.ts";
import type { Request } from "../../wire/jsonrpc.ts";
import type { Broker } from "../broker.ts";
import { refuseForeign } from "../identity.ts";
import type { Later } from "../later.ts";
import type { GatewaySettings } from "../settings.ts";
import { Timings } from "../timings.ts";

/** The code by which callers know whatever this endpoint could not do (eps-protocol 4.8). */
const BROKER_ERROR = 1;
/** An id of the caller's own that is longer than this would make calls too large to respond to. */
const OWN_ID_MAX = 256;

type Dependencies = {
  self: string;
  broker: Broker;
  directory: Directory;
  later: Later;
  rpc?: RpcEvents;
  log: Log;
};

/**
 * Where the local service hands in its calls: JSON-RPC requests whose method names operator and method.
 * Every reply says by `X-Request-Id` what the call is called in all logs, and by `Server-Timing` what
 * took how long. A service that has acknowledged a call answers it here as well, by `respond`.
 */
export async function openGateway(
  settings: GatewaySettings,
  { self, broker, directory, later, rpc, log }: Dependencies,
): Promise<Listener> {
  const { tls, allowed_clients } = settings;
  const own = { self, allowed: allowed_clients };

  async function serve(
    { id, method, params }: Request,
    hungUp: AbortSignal,
    { headers, leaf, source }: Exchange,
  ): Promise<Answer> {
    try {
      if (tls?.verify_client) await refuseForeign(leaf, own, { directory, signal: hungUp });
      if (method === RESPOND) return respond(later, id, params);
      const target = parseMethod(method);
      if (!target) {
        const message = `error parsing address: method "${method}" names no operator, as in "hd-2._ping"`;
        throw new Fault("malformed", message);
      }
      const { call, request } = callIdOf(id);
      const timings = new Timings();
      const who = `${leaf?.fingerprint ?? ""}@${source}`;
      const address = { ...target, call };
      const message = { address, params, caller: self, source: who, timings };
      headers["x-request-id"] = request;
      const answer = await broker.deliver(message, hungUp);
      headers["server-timing"] = `${timings}`;
      return answer ?? { result: { message: "submitted" } };
    } catch (reason) {
      const fault = Fault.from(reason);
      if (fault.fault === "internal") throw fault;
      return faultAnswer(fault, BROKER_ERROR);
    }
  }

  return await openJsonrpcServer(settings, {
    serve,
    log,
    told: rpc && { events: rpc, listener: "gateway" },
    setting: "channels: jsonrpc_server: bind_address",
  });
}

/**
 * What a call is called from here on: the caller's own id if it can stand in an address, and the
 * request it belongs to, which is another one for each call, or goes on if a proxy beside us says so.
 */
function callIdOf(id: string | number | undefined): { call: string; request: string } {
  const own = id === undefined ? "" : callIdText(id);
  const passed = requestOf(own);
  const request = passed ?? nanoid(REQUEST_ID_SIZE);
  const usable = !passed && own.length <= OWN_ID_MAX && isCallId(own);
  return { call: withRequest(usable ? own : nanoid(), request), request };
}

/** The method by which the service behind us answers a call that it has acknowledged. */
const RESPOND = "respond";

const Response = z.union([
  z.strictObject({ result: z.json() }),
  z.strictObject({
    error: z.object({ code: z.int(), message: z.string(), data: z.json().optional() }),
  }),
]);

/** `id` is the one that the service was given with the call; `params` has a `result` or an `error`. */
function respond(later: Later, id: string | number | undefined, params: JsonObject): Answer {
  const { success, data } = Response.safeParse(params);
  if (!success || typeof id !== "string") {
    const message = `respond takes the id of the call as its id, and as params {"result": …} or {"error": {"code": …, "message": …}}`;
    throw new Fault("malformed", message);
  }
  later.respond(id, data as Answer);
  return { result: "ok" };
}
