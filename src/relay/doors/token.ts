import type { Listener } from "../../net/listen.ts";
import { readExactly } from "../../net/read-hello.ts";
import type { RelayEvents } from "../events.ts";
import type { Leg } from "../leg.ts";
import { TOKEN_SIZE } from "../rendezvous/pair.ts";
import { type DoorSettings, openDoor } from "./door.ts";

/** Lets in whoever starts with a token: 32 raw bytes in any segmentation, then anything (eps-protocol 6.4). */
export async function openTokenDoor(
  settings: DoorSettings,
  deps: { events: RelayEvents },
  admit: (token: Buffer, leg: Leg) => void,
): Promise<Listener> {
  return await openDoor(
    "token",
    settings,
    (socket, signal) => readExactly(socket, TOKEN_SIZE, signal),
    deps,
    admit,
  );
}
