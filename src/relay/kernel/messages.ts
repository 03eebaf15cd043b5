import type { DoorLimits as Limits } from "../doors/admission.ts";
import type { Greeted } from "../doors/greetings.ts";
import type { Refusal } from "../events.ts";
import type { Ending, Outcome } from "../leg.ts";

/*
 * What the two threads say to each other. Descriptors are those of the process, so they mean the same on
 * both sides; a circuit is a number that the main thread gives out. Messages carry lists of these.
 */

/** A gate to be opened. Numbers are given out once; a slot is free again when its gate is closed. */
export type Opening = {
  readonly number: number;
  readonly slot: number;
  readonly door: Greeted;
  readonly descriptor: number;
  readonly limits: Limits;
};

/** From the main thread. With a descriptor the worker gets what it stands for, to close it in the end. */
export type Command =
  | ["open", Opening]
  | ["limit", gate: number, limits: Limits]
  | ["close", gate: number]
  | ["adopt", descriptor: number, unread: string]
  | ["pair", circuit: number, caller: number, callee: number, bytes_max: number]
  | ["cut", circuit: number, ending: Ending]
  | ["hang up", descriptor: number, last: string]
  | ["stop"];

/** From the worker. Bytes go as latin1: cloning a Buffer would clone all that it is a piece of. */
export type Report =
  | ["ready"]
  | ["heard", gate: number, descriptor: number, hello: string, came_at: number, arrived_at: number]
  | ["away", gate: number, why: Refusal, source: string]
  | ["over", circuit: number, ending: Ending, by: Outcome["by"]]
  /** No descriptors are left, or no memory for them. */
  | ["exhausted"];

/** No descriptor that the worker takes has a higher number; what the system hands out beyond is closed. */
export const DESCRIPTORS_MAX = 2 ** 20;
const CIRCUITS_MAX = DESCRIPTORS_MAX / 2;
export const GATES_MAX = 64;

/** Of a circuit, in this order. */
export const FROM_CALLER = 0;
export const FROM_CALLEE = 1;
export const MOVED_AT = 2;
export const CIRCUIT_FIELDS = 3;

/** What a descriptor of the worker is: only a connection may be reset. */
export const OTHER = 1;
export const CONNECTION = 2;

/** Memory that both threads see. Untouched pages of it cost nothing. */
export type Shared = {
  /** See `Bell`. */
  readonly bell: Int32Array;
  /** Bytes from either side and when some moved last (`performance.now()` of the main thread), for each circuit. */
  readonly circuits: Float64Array;
  /** How many strangers are inside, for each gate by its slot. */
  readonly strangers: Int32Array;
  /** `CONNECTION` or `OTHER` for every descriptor that the worker has to close, so that somebody can if it dies. */
  readonly owned: Uint8Array;
};

export function shareMemory(): Shared {
  return {
    bell: new Int32Array(new SharedArrayBuffer(8)),
    circuits: new Float64Array(new SharedArrayBuffer(CIRCUITS_MAX * CIRCUIT_FIELDS * 8)),
    strangers: new Int32Array(new SharedArrayBuffer(GATES_MAX * 4)),
    owned: new Uint8Array(new SharedArrayBuffer(DESCRIPTORS_MAX)),
  };
}

/** What the worker is started with. */
export type Start = {
  readonly shared: Shared;
  /** An eventfd by which the main thread wakes the worker. */
  readonly bell: number;
  /** `process.hrtime` in milliseconds when the main thread's `performance.now()` was 0. */
  readonly epoch_ms: number;
};

/** Indices of `Shared.bell`: how many messages were sent, and whether the worker sleeps. */
export const SENT = 0;
export const ASLEEP = 1;

export function monotonic_ms(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}
