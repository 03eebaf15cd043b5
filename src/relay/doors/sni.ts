import { Fault } from "../../core/fault.ts";
import { alert, CLIENT_HELLO_MAX, readClientHello } from "../../wire/client-hello.ts";
import type { Greeting } from "./greeting.ts";

/**
 * Lets in TLS clients by the server name in their ClientHello, which is only looked at: the leg still
 * begins with it. Whoever names no server, or says something else, is told so by a TLS alert.
 */
export const SNI: Greeting = {
  size_max: CLIENT_HELLO_MAX,
  read(bytes) {
    const hello = readClientHello(bytes);
    if (!hello) return undefined;
    if (!hello.server_name) throw new Fault("not_found", "the client names no server");
    return { hello: hello.server_name, used: 0 };
  },
  farewell({ fault }) {
    if (fault === "not_found") return alert("unrecognized_name");
    return fault === "malformed" ? alert("decode_error") : undefined;
  },
};
