import { createHash, X509Certificate } from "node:crypto";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import {
  connect,
  createSecureContext,
  createServer,
  type PeerCertificate,
  type TLSSocket,
} from "node:tls";
import { Deadline, orAbort } from "../core/deadline.ts";
import { explain, Fault } from "../core/fault.ts";
import { Handshakes } from "./handshakes.ts";
import { readPem } from "./pem.ts";
import { reset } from "./reset.ts";

const HANDSHAKE_MS = 10_000;
const POLL_MS = 10;

/** Where a `tls` block of settings says that its PEM files are (eps-protocol 2.2). */
type TlsFiles = {
  ca_certificate_files: readonly string[];
  certificate_file?: string | undefined;
  key_file?: string | undefined;
};

/** These files, read and checked. */
export type TlsMaterial = {
  ca: string[];
  cert?: string;
  key?: string;
  minVersion?: "TLSv1.2";
};

export async function readTls(files: TlsFiles): Promise<TlsMaterial> {
  const material: TlsMaterial = {
    ca: await Promise.all(files.ca_certificate_files.map(readAuthorities)),
    minVersion: "TLSv1.2",
  };
  if (files.certificate_file && files.key_file) {
    material.cert = await readPem(files.certificate_file);
    material.key = await readPem(files.key_file);
  }
  try {
    createSecureContext(material);
  } catch (cause) {
    const both = [files.certificate_file, files.key_file].filter(Boolean).join(" and ");
    throw new Fault("settings", `${both} cannot be used for TLS: do the two belong together?`, {
      cause,
    });
  }
  return material;
}

/** OpenSSL passes over an authority that it cannot read, and then believes nobody. */
async function readAuthorities(file: string): Promise<string> {
  const text = await readPem(file);
  try {
    for (const [block] of text.matchAll(CERTIFICATE)) new X509Certificate(block);
  } catch (cause) {
    throw new Fault("settings", `${file} holds a certificate that cannot be read`, { cause });
  }
  return text;
}

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g;

/** What a certificate proves about whoever holds its key. */
export type Leaf = {
  /** Common name, then DNS names, in order (eps-protocol 3.4). */
  readonly names: readonly string[];
  /** Lowercase hex SHA-256 of the DER form. */
  readonly fingerprint: string;
};

const leaves = new WeakMap<PeerCertificate, Leaf>();

/** Reads a certificate once; later calls with the same object are free. Undefined if there is none. */
export function leafOf(certificate: PeerCertificate | undefined): Leaf | undefined {
  if (!certificate?.raw) return undefined;
  let leaf = leaves.get(certificate);
  if (!leaf) {
    const { CN } = certificate.subject as { CN?: string | string[] };
    leaf = {
      names: [CN ?? []].flat().concat(dnsNames(certificate.subjectaltname ?? "")),
      fingerprint: createHash("sha256").update(certificate.raw).digest("hex"),
    };
    leaves.set(certificate, leaf);
  }
  return leaf;
}

/**
 * The DNS names of `DNS:a, URI:b, DNS:c`. Node quotes a value that contains a comma or a quote, so a
 * hostile name cannot look like two; quoted names are no host names and are left out.
 */
function dnsNames(alternatives: string): string[] {
  const names: string[] = [];
  for (const [, kind, value = ""] of alternatives.matchAll(
    /(?:^|, )([A-Za-z ]+):("(?:[^"\\]|\\.)*"|[^,"]*)/g,
  )) {
    if (kind === "DNS" && value && !value.startsWith('"')) names.push(value);
  }
  return names;
}

/** Asking a socket for its certificate builds it anew each time, so the first answer is kept. */
export function remember(socket: TLSSocket): TLSSocket {
  const certificate = socket.getPeerCertificate();
  socket.getPeerCertificate = () => certificate as never;
  return socket;
}

/** A TLS socket cannot be reset, but the connection below it can. */
export function resettable(secure: TLSSocket, below: Socket): TLSSocket {
  secure.resetAndDestroy = () => {
    reset(below);
    return secure.destroy();
  };
  return secure;
}

type TlsAcceptor = AsyncDisposable & {
  /** Takes over a socket, whoever dialled it, and plays the server's part in a handshake on it. */
  accept(socket: Duplex): void;
  /** Uses other certificates for the handshakes to come; connections stay as they are. */
  renew(material: TlsMaterial): void;
  /** Resolves once all its sockets have been closed by those who own them, or after `ms`. */
  emptied(ms: number): Promise<void>;
};

/**
 * The server's side of TLS over sockets that come from anywhere. `secured` owns the socket it is given.
 * A source that has too many handshakes under way is turned away before any work is done for it.
 */
export function acceptTls(
  material: TlsMaterial,
  settings: { verify_client: boolean; request_client_cert: boolean; alpn: string[] },
  {
    secured,
    failed,
  }: { secured(socket: TLSSocket, took_ms: number): void; failed(reason: string): void },
): TlsAcceptor {
  const open = new Set<Duplex>();
  const server = createServer({
    ...material,
    requestCert: settings.verify_client || settings.request_client_cert,
    rejectUnauthorized: settings.verify_client,
    handshakeTimeout: HANDSHAKE_MS,
    ALPNProtocols: settings.alpn,
  });
  const handshakes = new Handshakes(server, (socket, took_ms) =>
    secured(remember(socket), took_ms),
  );
  server.on("tlsClientError", (reason, socket) => {
    failed(explain(reason));
    socket.destroy();
  });
  return {
    accept(socket) {
      if (!handshakes.admits(socket)) {
        socket.destroy();
        return;
      }
      // An end below TLS is the end of everything above it; half-open, a session would outlive its peer.
      socket.allowHalfOpen = false;
      open.add(socket);
      socket.on("close", () => open.delete(socket));
      socket.on("error", () => {}); // told by the TLS socket above it
      server.emit("connection", socket);
    },
    renew: (renewed) => server.setSecureContext(renewed),
    async emptied(ms) {
      for (const until = performance.now() + ms; open.size > 0 && performance.now() < until; )
        await sleep(POLL_MS);
    },
    async [Symbol.asyncDispose]() {
      for (const socket of open) socket.destroy();
    },
  };
}

/**
 * The client's side of TLS over a connected socket. On failure the socket is destroyed and a fault
 * says whether the other side, its name or our own certificate was the reason.
 */
export async function connectTls(
  socket: Socket,
  material: TlsMaterial,
  { name, skip_verify, alpn = ["h2"] }: { name: string; skip_verify: boolean; alpn?: string[] },
  signal: AbortSignal,
): Promise<TLSSocket> {
  using deadline = new Deadline(HANDSHAKE_MS, `the TLS handshake with ${name}`, signal);
  const secure = connect({
    ...material,
    socket,
    servername: name,
    rejectUnauthorized: !skip_verify,
    ALPNProtocols: alpn,
  });
  const shaken = new Promise<void>((resolve, reject) => {
    secure.once("secureConnect", resolve).once("error", reject);
    secure.once("close", () => reject(new Error("the other side closed the connection")));
  });
  try {
    await orAbort(shaken, deadline.signal);
    return remember(secure);
  } catch (cause) {
    shaken.catch(() => {});
    secure.on("error", () => {}).destroy();
    if (cause instanceof Fault) throw cause;
    throw new Fault("unreachable", `no TLS with ${name}: ${explain(cause)}`, { cause });
  }
}
