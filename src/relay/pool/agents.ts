import type { Socket } from "node:net";
import { TLSSocket } from "node:tls";
import { Fault } from "../../core/fault.ts";
import { isSameSecret } from "../../core/secret.ts";
import { sourceOf } from "../../net/source.ts";
import { leafOf } from "../../net/tls.ts";
import type { decodeHello } from "../../wire/relayserver.ts";

type Hello = ReturnType<typeof decodeHello>;

/** What a pool asks of agents: its name, if they name one, and one of these tokens, if there are any. */
export type Terms = { readonly pool: string; readonly tokens: readonly string[] };

/**
 * Whose a connection is: what an agent calls itself, below what it is known by, which is its
 * certificate, its token or its address. So nobody can pass for an agent that is known by something else.
 * Throws `forbidden` for another pool or a wrong token.
 */
export function ownerOf(socket: Socket, hello: Hello, { pool, tokens }: Terms): string {
  const { service, owner = "", token = "" } = hello;
  if (service && service !== pool) {
    throw new Fault("forbidden", `it serves another pool than ${pool}`);
  }
  return `${identityOf(socket, token, tokens)} ${owner}`;
}

function identityOf(socket: Socket, token: string, tokens: readonly string[]): string {
  if (tokens.length > 0) {
    const known = tokens.findIndex((each) => isSameSecret(each, token));
    if (known < 0) throw new Fault("forbidden", "the token is not one of this pool");
    return `token ${known}`;
  }
  const leaf = socket instanceof TLSSocket ? leafOf(socket.getPeerCertificate()) : undefined;
  return leaf ? `certificate ${leaf.fingerprint}` : `source ${sourceOf(socket.remoteAddress)}`;
}
