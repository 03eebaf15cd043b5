/**
 * RFC 3339 times as text, exact to the nanosecond.
 *
 * A signed time is hashed as text, in the form the original gives it: wall clock and offset as
 * written, no trailing zeros in the fraction, `Z` for no offset (eps-protocol 8.4). `Date` knows
 * neither nanoseconds nor offsets, so it only does the calendar of whole seconds here.
 */

type Parts = { clock: string; fraction: string; offset: string; offset_s: number; second: number };

const RFC3339 = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(?:Z|([+-])(\d\d):(\d\d))$/;

/** The canonical text of the same time, or undefined if this is not a time. */
export function canonicalTime(text: string): string | undefined {
  const parts = parse(text);
  if (!parts) return undefined;
  return `${parts.clock}${parts.fraction && `.${parts.fraction}`}${parts.offset}`;
}

/** Nanoseconds since 1970, for comparing. Throws on what is not a time. */
export function instant(text: string): bigint {
  const parts = parse(text);
  if (!parts) throw new RangeError(`not an RFC 3339 time: ${text}`);
  return BigInt(parts.second - parts.offset_s) * SECOND_NS + BigInt(parts.fraction.padEnd(9, "0"));
}

/**
 * The present, but always later than `after`. Records of equal content and time have equal hashes,
 * which breaks a chain, and our clock may be behind the one that wrote its tip.
 */
export function now(after?: string): string {
  const present = BigInt(Date.now()) * MILLISECOND_NS;
  const next = after === undefined ? present : instant(after) + MICROSECOND_NS;
  return format(next > present ? next : present);
}

function format(ns: bigint): string {
  const fraction = ((ns % SECOND_NS) + SECOND_NS) % SECOND_NS;
  const second = (ns - fraction) / SECOND_NS;
  const clock = new Date(Number(second) * 1_000).toISOString().slice(0, -".000Z".length);
  const digits = String(fraction).padStart(9, "0").replace(/0+$/, "");
  return `${clock}${digits && `.${digits}`}Z`;
}

function parse(text: string): Parts | undefined {
  const [, clock = "", digits = "", sign, hours = "00", minutes = "00"] = RFC3339.exec(text) ?? [];
  const ms = Date.parse(`${clock}Z`);
  // Some impossible days (February 30) parse as a later one, so the clock must read back the same.
  if (Number.isNaN(ms) || new Date(ms).toISOString() !== `${clock}.000Z`) return undefined;
  if (Number(hours) > 23 || Number(minutes) > 59) return undefined;
  const offset_s = (Number(hours) * 60 + Number(minutes)) * (sign === "-" ? -60 : 60);
  return {
    clock,
    fraction: digits.replace(/0+$/, ""),
    offset: offset_s === 0 ? "Z" : `${sign}${hours}:${minutes}`,
    offset_s,
    second: ms / 1_000,
  };
}

const SECOND_NS = 1_000_000_000n;
const MILLISECOND_NS = 1_000_000n;
const MICROSECOND_NS = 1_000n;
