import type { Socket } from "node:net";
import { Fault } from "../../core/fault.ts";
import type { Listener } from "../../net/listen.ts";
import { readHello } from "../../net/read-hello.ts";
import { alert, readClientHello } from "../../wire/client-hello.ts";
import type { RelayEvents } from "../events.ts";
import type { Leg } from "../leg.ts";
import { type DoorSettings, openDoor } from "./door.ts";

/**
 * Lets in TLS clients by the server name in their ClientHello, which is only looked at: the leg still
 * begins with it. Whoever names no server, or says something else, is told so by a TLS alert.
 */
export async function openSniDoor(
  settings: DoorSettings,
  deps: { events: RelayEvents },
  admit: (serverName: string, leg: Leg) => void,
): Promise<Listener> {
  return await openDoor("sni", settings, hearName, deps, admit);
}

/** Turns an admitted client away: nobody has the name it asks for, or whoever has it cannot be had. */
export function refuse({ socket }: Leg, why: "unrecognized_name" | "internal_error"): void {
  socket.write(alert(why));
  socket.destroySoon();
}

async function hearName(socket: Socket, signal: AbortSignal): Promise<string> {
  let bytes = Buffer.alloc(0);
  const take = (): string | undefined => {
    for (let more = socket.read(); more; more = socket.read()) bytes = Buffer.concat([bytes, more]);
    const hello = readClientHello(bytes);
    if (hello && !hello.server_name) throw new Fault("not_found", "the client names no server");
    return hello?.server_name;
  };
  try {
    const name = await readHello(socket, take, signal);
    socket.unshift(bytes);
    return name;
  } catch (reason) {
    const { fault } = Fault.from(reason);
    if (fault === "not_found") socket.write(alert("unrecognized_name"));
    if (fault === "malformed") socket.write(alert("decode_error"));
    throw reason;
  }
}
