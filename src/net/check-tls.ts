import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { normalize } from "node:path";
import { duplexPair } from "node:stream";
import { checkServerIdentity, connect, createServer, type TLSSocket } from "node:tls";
import { Deadline, orAbort } from "../core/deadline.ts";
import { explain } from "../core/fault.ts";
import { type Finding, type Findings, findingsOf } from "../core/findings.ts";
import { readPem } from "./pem.ts";
import type { TlsSettings } from "./settings.ts";
import { readTls, type TlsMaterial } from "./tls.ts";

const { ok, note, warning, problem } = findingsOf("certificates");
const SOON_MS = 30 * 24 * 60 * 60 * 1_000;
const HANDSHAKE_MS = 10_000;

/** A `tls` block, the settings that hold it, and which side of a connection it plays. */
export type TlsUse = {
  tls: TlsSettings;
  where: string;
  plays: "server" | "client";
  /** Whom the certificate has to be for, if that is known. */
  name?: string | undefined;
};

/**
 * Would this certificate be accepted by somebody who trusts the same authorities? Found out by a real
 * handshake with ourselves, in memory, so that the answer is the one that peers would get.
 */
export async function* checkTls({ tls, where, plays, name }: TlsUse): Findings {
  if (tls.insecure_skip_verify && plays === "client") {
    yield warning(
      `${where}: insecure_skip_verify believes anybody`,
      "Remove insecure_skip_verify and list the authority in ca_certificate_files.",
    );
  }
  if (!tls.verify_client && plays === "server") {
    yield note(
      `${where}: verify_client is off, so anybody may connect`,
      "Turn verify_client on unless the callers are meant to be unknown.",
    );
  }
  let material: TlsMaterial;
  try {
    material = await readTls(tls);
  } catch (reason) {
    yield problem(`${where}: ${explain(reason)}`, `Correct the files named in ${where}: tls.`);
    return;
  }
  for (const file of tls.ca_certificate_files) yield* checkDates(file, true);
  if (!tls.certificate_file) {
    if (plays === "client") return;
    yield problem(
      `${where}: there is no certificate, and a server needs one`,
      `Add certificate_file and key_file to ${where}: tls.`,
    );
    return;
  }
  let good = true;
  for await (const finding of checkDates(tls.certificate_file, false)) {
    good &&= finding.severity !== "problem";
    yield finding;
  }
  if (good) yield await checkUse(material, tls.certificate_file, { where, plays, name });
}

async function* checkDates(file: string, authority: boolean): Findings {
  const { begin, end } = await datesOf(file);
  const path = normalize(file);
  const now = Date.now();
  const fix = authority
    ? "Get the authority's new certificate and list it in ca_certificate_files."
    : "Get a new certificate, have its fingerprint pinned in the directory, and replace the file.";
  if (now > end.getTime()) yield problem(`${path} expired on ${day(end)}`, fix);
  else if (now < begin.getTime()) {
    yield problem(`${path} is valid only from ${day(begin)}`, "Check the clock of this machine.");
  } else if (end.getTime() - now < SOON_MS) yield warning(`${path} expires on ${day(end)}`, fix);
}

async function checkUse(
  material: TlsMaterial,
  file: string,
  { where, plays, name }: Omit<TlsUse, "tls">,
): Promise<Finding> {
  const refused = await shakeHands(material, { plays, name });
  const path = normalize(file);
  if (!refused) {
    const whom = name === undefined ? "" : ` for ${name}`;
    const { end } = await datesOf(file);
    return ok(`${path} is good${whom} until ${day(end)} (${where})`);
  }
  return problem(
    `${path} would be refused: ${refused.message} (${where})`,
    refused.code === MISNAMED
      ? `Use a certificate whose DNS names include ${name}.`
      : "Use a certificate that an authority in ca_certificate_files has signed for this purpose, with what is between the two in the same file.",
  );
}

async function datesOf(file: string): Promise<{ begin: Date; end: Date }> {
  const { validFrom, validTo } = new X509Certificate(await readPem(file));
  return { begin: new Date(validFrom), end: new Date(validTo) };
}

function day(date: Date): string {
  return date.toISOString().slice(0, "2026-01-01".length);
}

const MISNAMED = "ERR_TLS_CERT_ALTNAME_INVALID";

type Refusal = { code?: string | undefined; message: string };

/** Both sides of a handshake with the same certificate. Undefined if each accepts the other. */
async function shakeHands(
  material: TlsMaterial,
  { plays, name }: Pick<TlsUse, "plays" | "name">,
): Promise<Refusal | undefined> {
  using deadline = new Deadline(HANDSHAKE_MS, "a handshake in memory");
  const [here, there] = duplexPair();
  const refusals: Refusal[] = [];
  const server = createServer({ ...material, requestCert: true, rejectUnauthorized: false });
  const accepted = once(server, "secureConnection").then(([socket]: TLSSocket[]) => {
    if (plays === "client" && socket?.authorizationError) {
      refusals.push(refusal(socket.authorizationError));
    }
    return socket;
  });
  server.on("tlsClientError", (error) => refusals.push(refusal(error)));
  server.emit("connection", there);
  const client = connect({
    ...material,
    socket: here,
    servername: name ?? "",
    rejectUnauthorized: false,
    checkServerIdentity: () => undefined, // looked at below
  });
  client.on("error", (error) => refusals.push(refusal(error)));
  try {
    await orAbort(Promise.all([accepted, once(client, "secureConnect")]), deadline.signal);
    if (plays === "server" && client.authorizationError) {
      refusals.push(refusal(client.authorizationError));
    }
    const certificate = client.getPeerCertificate();
    const misnamed = name === undefined ? undefined : checkServerIdentity(name, certificate);
    if (misnamed) refusals.push({ code: MISNAMED, message: misnamed.message });
  } catch (reason) {
    refusals.push(refusal(reason));
  } finally {
    client.destroy();
    here.destroy();
    there.destroy();
  }
  return refusals[0];
}

function refusal(reason: unknown): Refusal {
  const { code } = reason as NodeJS.ErrnoException;
  return { code, message: explain(reason) };
}
