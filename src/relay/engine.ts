import type { Socket } from "node:net";
import type { Listener } from "../net/listen.ts";
import type { DoorSettings } from "./doors/admission.ts";
import type { Greeted } from "./doors/greetings.ts";
import type { RelayEvents } from "./events.ts";
import type { Leg, Line, Side } from "./leg.ts";
import type { Splice } from "./splice.ts";

/** What an operator may choose. */
export const ENGINES = ["auto", "stream", "kernel"] as const;

/** Lets one in that has said its hello: from here on the leg is for whoever takes it. */
export type Admit = (hello: string, leg: Leg) => void;

/**
 * The data plane: how connections come in and how bytes get from one to the other. There are two, which
 * keep one contract (`test/contract`): `stream` works with Node's sockets everywhere, `kernel` has Linux
 * move the bytes. Lines of one engine cannot be spliced by the other.
 */
export interface Engine extends AsyncDisposable {
  readonly name: "stream" | "kernel";
  /**
   * A place where strangers come in. Until one has said its hello it is the door's to time out and to
   * close; then it is `admit`'s, and no deadline of the door is left on it. Closing the door turns
   * strangers away and leaves admitted legs alone.
   */
  openDoor(
    door: Greeted,
    settings: DoorSettings,
    deps: { events: RelayEvents },
    admit: Admit,
  ): Promise<Listener>;
  /**
   * Takes over a socket that was dialled, once all that was written to it is out. Throws
   * `unreachable` if it is gone; then it is still the caller's.
   */
  adopt(socket: Socket, signal: AbortSignal): Promise<Line>;
  /** Splices two of its own lines and owns them from here on. More than `bytes_max` in all is `limit`. */
  splice(lines: Record<Side, Line>, limits: { bytes_max: number }): Splice;
}
