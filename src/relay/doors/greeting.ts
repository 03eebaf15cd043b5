import type { Fault } from "../../core/fault.ts";

/** How strangers at a door say what they want, read from their first bytes, whichever thread has them. */
export type Greeting = {
  /** A hello ends within so many bytes, or it is none. */
  readonly size_max: number;
  /**
   * Undefined as long as bytes are missing; throws `malformed` if this is no hello, and `not_found`
   * if it asks for nothing. The first `used` bytes were for us; the partner gets what follows them.
   */
  read(bytes: Buffer): { hello: string; used: number } | undefined;
  /** What a stranger is told that is turned away for this. */
  farewell(fault: Fault): Buffer | undefined;
};
