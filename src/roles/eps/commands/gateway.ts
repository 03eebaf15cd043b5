import { Fault } from "../../../core/fault.ts";
import type { JsonrpcClient } from "../../../rpc/jsonrpc/client.ts";
import { openOwnClient } from "../../../rpc/jsonrpc/own-client.ts";
import type { EpsSettings } from "../settings.ts";

/** A client of the endpoint that runs from these settings, by the door that its own programs use. */
export async function openGatewayClient({ channels }: EpsSettings): Promise<JsonrpcClient> {
  const gateway = channels.find((channel) => channel.type === "jsonrpc_server");
  if (gateway) return await openOwnClient(gateway.settings);
  throw new Fault(
    "settings",
    "the settings have no channel of type jsonrpc_server, and commands call through it",
  );
}

/** Says what to do when the endpoint itself is not there. */
export function notRunning(reason: unknown): unknown {
  const fault = Fault.from(reason);
  if (fault.fault !== "unreachable") return reason;
  return new Fault("unreachable", "the endpoint does not answer (does `eps server run` run?)", {
    cause: reason,
  });
}
