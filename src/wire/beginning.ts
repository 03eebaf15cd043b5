/** How those begin who come in by doors: by TLS, as a ZeroMQ peer, as an agent of RelayServer, by HTTP, or with a token. */
export type Beginning = "tls" | "zmtp" | "relayserver" | "http" | "token";

const HANDSHAKE = 0x16;
const SIGNATURE = 0xff;

/**
 * What the first byte of a connection says about the rest (seed-systems 5.5): a TLS record of a handshake, the
 * signature of ZMTP, the length of a short message, or the letter of an HTTP method. Tokens are random bytes
 * that begin with none of these, so whatever else comes is taken for one.
 */
export function beginningOf(first: number): Beginning {
  if (first === HANDSHAKE) return "tls";
  if (first === SIGNATURE) return "zmtp";
  if (first === 0) return "relayserver";
  return isLetter(first) ? "http" : "token";
}

function isLetter(byte: number): boolean {
  return /^[A-Za-z]$/.test(String.fromCharCode(byte));
}
