import { Fault } from "../core/fault.ts";

export type Endpoint = { host: string; port: number };

/**
 * Reads `host:port`, with IPv6 in brackets (eps-protocol 6.7). An empty host means every interface. What
 * cannot be seen is no part of a name: a resolver would stop reading at a NUL.
 */
export function parseEndpoint(text: string): Endpoint {
  const [, bracketed, plain = "", digits] =
    /^(?:\[([^\]\s\p{Cc}]+)\]|([^:[\]\s\p{Cc}]*)):(\d{1,5})$/u.exec(text) ?? [];
  const port = Number(digits);
  if (digits === undefined || port > 65_535) {
    throw new Fault("malformed", `"${text.slice(0, 300)}" is not host:port`);
  }
  return { host: bracketed ?? plain, port };
}

export function formatEndpoint({ host, port }: Endpoint): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}
