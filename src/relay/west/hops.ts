import type { IncomingMessage } from "node:http";
import { nanoid } from "nanoid";

const HOPS_MAX = 16;

/** Has a request been here, or at too many places (RFC 9110 7.6.3)? */
export function looped({ headers }: IncomingMessage, hop: string): boolean {
  const hops = (headers.via ?? "").split(",").map((each) => each.trim().split(/\s+/)[1]);
  return hops.length > HOPS_MAX || hops.includes(hop);
}

/** One name for a request in the logs of all sites that it passes. */
export function identified({ headers }: IncomingMessage): string {
  const said = headers["x-request-id"];
  return typeof said === "string" && /^[\w.-]{1,64}$/.test(said) ? said : nanoid();
}
