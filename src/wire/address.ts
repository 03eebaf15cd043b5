import { Fault } from "../core/fault.ts";

/** Whom a call is for: `operator.method(call)`. An operator may contain dots, a method may not. */
export type Address = { readonly operator: string; readonly method: string; readonly call: string };

const ADDRESS = /^(.*)\.([^(.]+)\(([^)]+)\)$/;
const METHOD = /^(.*)\.([^(.]+)$/;

/** Reads a full request id (eps-protocol 4.1). */
export function parseAddress(id: string): Address {
  const [, operator, method, call] = ADDRESS.exec(id) ?? [];
  if (operator === undefined || method === undefined || call === undefined) {
    throw new Fault("malformed", "error parsing address: invalid ID format");
  }
  return { operator, method, call };
}

export function formatAddress({ operator, method, call }: Address): string {
  return `${operator}.${method}(${call})`;
}

/** Splits `hd-2._ping` into operator and method; undefined if it names no operator. */
export function parseMethod(text: string): Omit<Address, "call"> | undefined {
  const [, operator, method] = METHOD.exec(text) ?? [];
  return operator === undefined || method === undefined ? undefined : { operator, method };
}

/** Could this text stand between the brackets of an address? */
export function isCallId(text: string): boolean {
  return /^[^)\n]+$/.test(text);
}
