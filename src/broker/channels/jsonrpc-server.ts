import { nanoid } from "nanoid";
import { Deadline } from "../../core/deadline.ts";
import { Fault } from "../../core/fault.ts";
import type { Log } from "../../core/log.ts";
import type { Listener } from "../../net/listen.ts";
import { openJsonrpcServer } from "../../rpc/jsonrpc/server.ts";
import type { JsonrpcServerSettings } from "../../rpc/settings.ts";
import { formatAddress, isCallId, parseMethod } from "../../wire/address.ts";
import { type Answer, faultAnswer } from "../../wire/answer.ts";
import { callIdText } from "../../wire/call-id.ts";
import type { Request } from "../../wire/jsonrpc.ts";
import type { Broker } from "../broker.ts";

/** The code by which callers know whatever this endpoint could not do (eps-protocol 4.8). */
const BROKER_ERROR = 1;

type Dependencies = { self: string; broker: Broker; call_timeout_ms: number; log: Log };

/** Where the local service hands in its calls: JSON-RPC requests whose method names operator and method. */
export async function openGateway(
  settings: JsonrpcServerSettings,
  deps: Dependencies,
): Promise<Listener> {
  const { self, broker, log } = deps;
  const open = new Set<string>();

  async function serve({ id, method, params }: Request, hungUp: AbortSignal): Promise<Answer> {
    using deadline = new Deadline(deps.call_timeout_ms, `the call of ${method}`, hungUp);
    const target = parseMethod(method);
    if (!target) {
      const message = `error parsing address: method "${method}" names no operator, as in "hd-2._ping"`;
      return faultAnswer(new Fault("malformed", message), BROKER_ERROR);
    }
    const address = { ...target, call: unusedCallId(method, id) };
    const key = formatAddress(address);
    open.add(key);
    try {
      const message = { address, params, caller: self };
      return (
        (await broker.deliver(message, deadline.signal)) ?? { result: { message: "submitted" } }
      );
    } catch (reason) {
      const fault = Fault.from(reason);
      if (fault.fault === "internal") throw fault;
      return faultAnswer(fault, BROKER_ERROR);
    } finally {
      open.delete(key);
    }
  }

  /** The caller's own id in text, unless it cannot stand in an address or another caller uses it now. */
  function unusedCallId(method: string, id: string | number | undefined): string {
    const own = id === undefined ? nanoid() : callIdText(id);
    const taken = !isCallId(own) || open.has(`${method}(${own})`);
    return taken ? nanoid() : own;
  }

  return await openJsonrpcServer(settings, {
    serve,
    log,
    setting: "channels: jsonrpc_server: bind_address",
  });
}
