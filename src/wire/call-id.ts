/**
 * The text form of a JSON-RPC id inside an address (eps-protocol 5.2).
 *
 * A number `5` becomes `n:5`. So that the string `"n:5"` stays different from it, strings of that
 * shape get twice as many `n`s; all other strings stand for themselves.
 */
export function callIdText(id: string | number): string {
  if (typeof id === "number") return `n:${id}`;
  const [, marks, digits] = /^(n+):(-?\d{1,32})$/.exec(id) ?? [];
  return marks === undefined ? id : `${marks}${marks}:${digits}`;
}

/**
 * What the calls that serve one request have in common stands last in the id of each, behind a tilde:
 * `n:5~V1StGXR8_Z`, also where a proxy has to be asked first. So logs of several programs can be joined.
 */
const REQUEST = /~([\w-]{10})\)?$/;

export const REQUEST_ID_SIZE = 10;

export function withRequest(own: string, request: string): string {
  return `${own}~${request}`;
}

/** The request that a call belongs to, by its call id or its whole address; undefined for a call of an original, which knows no such thing. */
export function requestOf(call: string): string | undefined {
  return REQUEST.exec(call)?.[1];
}
