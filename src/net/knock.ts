import { X509Certificate } from "node:crypto";
import { Deadline } from "../core/deadline.ts";
import { formatEndpoint } from "../wire/endpoint.ts";
import { dial } from "./dial.ts";
import { bindOptions } from "./listen.ts";
import { readPem } from "./pem.ts";
import { connectTls, type Leaf, leafOf, type TlsMaterial } from "./tls.ts";

const KNOCK_MS = 5_000;
const EVERYWHERE = ["0.0.0.0", "::"];

/** Is anybody there? Connects by TCP and hangs up; throws the fault if nobody answers. */
export async function knock(endpoint: string, signal: AbortSignal): Promise<void> {
  using deadline = new Deadline(KNOCK_MS, `dialling ${endpoint}`, signal);
  (await dial(endpoint, deadline.signal)).destroy();
}

/** The same with TLS, as a peer would. Brings back the certificate of whoever proved to be `name`. */
export async function knockByTls(
  endpoint: string,
  { material, name }: { material: TlsMaterial; name: string },
  signal: AbortSignal,
): Promise<Leaf | undefined> {
  using deadline = new Deadline(KNOCK_MS, `reaching ${name} at ${endpoint}`, signal);
  const socket = await dial(endpoint, deadline.signal);
  const options = { name, skip_verify: false };
  const secure = await connectTls(socket, material, options, deadline.signal);
  try {
    return leafOf(secure.getPeerCertificate());
  } finally {
    secure.destroy();
  }
}

/** How this machine reaches one of its own listeners. */
export function ownAddress(bind: string): string {
  const { host = "", port } = bindOptions(bind);
  const everywhere = host === "" || EVERYWHERE.includes(host);
  return formatEndpoint({ host: everywhere ? "localhost" : host, port });
}

/** What the certificate in a file proves. */
export async function leafIn(file: string): Promise<Leaf | undefined> {
  return leafOf(new X509Certificate(await readPem(file)).toLegacyObject());
}
