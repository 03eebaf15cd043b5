import type { Socket } from "node:net";
import { Fault } from "../../core/fault.ts";
import type { Engine } from "../engine.ts";
import type { Line } from "../leg.ts";
import { openStreamDoor } from "./door.ts";
import { SocketLine } from "./line.ts";
import { spliceStreams } from "./splice.ts";

/** The portable engine. It holds nothing itself. */
export function openStreamEngine(): Engine {
  return {
    name: "stream",
    openDoor: openStreamDoor,
    async adopt(socket) {
      if (socket.destroyed) throw new Fault("unreachable", "the connection is gone");
      return new SocketLine(socket);
    },
    splice: ({ caller, callee }, { bytes_max }) =>
      spliceStreams({ caller: socketOf(caller), callee: socketOf(callee) }, bytes_max),
    async [Symbol.asyncDispose]() {},
  };
}

function socketOf(line: Line): Socket {
  if (line instanceof SocketLine) return line.give();
  throw new Error("a line of another engine");
}
