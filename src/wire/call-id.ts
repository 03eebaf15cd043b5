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
