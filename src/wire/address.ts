import { Fault } from "../core/fault.ts";

/** Whom a call is for: `operator.method(call)`. An operator may contain dots, a method may not. */
export type Address = { readonly operator: string; readonly method: string; readonly call: string };

const METHOD = /^(.*)\.([^(.\p{Surrogate}]+)$/u;

/** Reads a full request id (eps-protocol 4.1). */
export function parseAddress(id: string): Address {
  const address = split(id);
  if (!address) throw new Fault("malformed", "error parsing address: invalid ID format");
  return address;
}

/**
 * `^(.*)\.([^(.]+)\(([^)]+)\)$`, walked backwards by hand: as a regular expression it takes time
 * that grows with the square of a text, and this one comes from strangers.
 */
function split(id: string): Address | undefined {
  const end = id.length - 1;
  if (!id.endsWith(")")) return undefined;
  const closed = id.lastIndexOf(")", end - 1);
  const newline = id.indexOf("\n");
  let open = -1;
  for (let at = end - 1; at >= 0; at -= 1) {
    if (id[at] === "(") open = at > closed && at + 1 < end ? at : -1;
    if (id[at] !== ".") continue;
    if (open > at + 1 && (newline < 0 || newline >= at)) {
      const [operator, method] = [id.slice(0, at), id.slice(at + 1, open)];
      return { operator, method, call: id.slice(open + 1, end) };
    }
    open = -1;
  }
  return undefined;
}

export function formatAddress({ operator, method, call }: Address): string {
  return `${operator}.${method}(${call})`;
}

/** Splits `hd-2._ping` into operator and method; undefined if it names no operator. */
export function parseMethod(text: string): Omit<Address, "call"> | undefined {
  const [, operator, method] = METHOD.exec(text) ?? [];
  return operator === undefined || method === undefined ? undefined : { operator, method };
}

/**
 * Could this text stand between the brackets of an address? Half a surrogate pair could not: gRPC
 * carries UTF-8, which has none, so an answer would come back with another id. Nor could `a.b(c`,
 * since a method is read from the last place where one may stand.
 */
export function isCallId(text: string): boolean {
  return /^[^)\n\p{Surrogate}]+$/u.test(text) && !/\.[^(.]+\(./.test(text);
}
