import type { Way } from "../load/legs.ts";

/** A relay that runs, and circuits through it for the asking. */
export type Relay = AsyncDisposable & {
  /** The processes whose trees do the relaying; none if nothing relays. */
  readonly pids: readonly number[];
  /** Prepares so many circuits, whose legs have yet to come. Not part of what is measured. */
  prepare(circuits: number): Promise<Ways>;
};

export type Ways = { readonly caller: Way; readonly callee: Way };

/** Where a relay keeps its settings and its log, and whom it dials if it dials at all. */
export type Place = { readonly folder: string; readonly target: number };

export type Contestant = {
  readonly name: string;
  /** What it is and how it is set, in a few words for the table's legend. */
  readonly what: string;
  /** Its program and how it says its version; none if we bring it. */
  readonly program?: { readonly command: string; readonly version: readonly string[] };
  /** The most circuits that it is asked to hold, or to prepare for one round. */
  readonly most: { readonly idle: number; readonly setups: number };
  /** How long it rests before it is weighed, if longer than others because it gives memory back by and by. */
  readonly rest_ms?: number;
  start(place: Place): Promise<Relay>;
};

const NOTHING = { hello: "", welcome: "" };

/** The circuits of a relay that dials the callee itself as soon as a caller has dialled it. */
export function through(port: number, circuits: number): Ways {
  const knocks = Array.from({ length: circuits }, () => NOTHING);
  return { caller: { port, knocks }, callee: { accept: circuits } };
}
