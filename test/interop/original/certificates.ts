import { createHash, X509Certificate } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { SecureContextOptions } from "node:tls";
import type { JsonObject } from "./messages.ts";

/** The suites of a Go original: under TLS 1.2 just these two, so never ECDHE with RSA (eps-protocol 2.2). */
const CIPHERS = [
  "TLS_AES_128_GCM_SHA256",
  "TLS_AES_256_GCM_SHA384",
  "TLS_CHACHA20_POLY1305_SHA256",
  "ECDHE-ECDSA-AES128-GCM-SHA256",
  "AES128-GCM-SHA256",
].join(":");

/** What an original reads of an operator's files: the root, its leaf with the intermediate, its key. */
export function tlsOf(certs: string, name: string): SecureContextOptions {
  return {
    ca: readFileSync(join(certs, "root.crt")),
    cert: readFileSync(join(certs, `${name}.crt`)),
    key: readFileSync(join(certs, `${name}.key`)),
    ciphers: CIPHERS,
    minVersion: "TLSv1.2",
  };
}

/** What an original has of one operator. */
export type Entry = {
  name: string;
  groups: string[];
  channels: Array<{ type: string; settings?: JsonObject }>;
  services: Service[];
  certificates: Array<{ fingerprint: string; key_usage: string }>;
  settings: JsonObject[];
};
type Permission = { group: string; rights: string[] };
type Service = {
  permissions?: Permission[];
  methods: Array<{ name: string; permissions?: Permission[] }>;
};

/** A directory of type `json`: the files of a folder, unsigned (eps-protocol 8.10). */
export function jsonDirectory(folder: string): Map<string, Entry> {
  const entries = new Map<string, Entry>();
  for (const file of readdirSync(folder).sort()) {
    if (!file.endsWith(".json")) continue;
    const { records } = JSON.parse(readFileSync(join(folder, file), "utf8"));
    for (const { name, section, data } of records) {
      const empty = { groups: [], channels: [], services: [], certificates: [], settings: [] };
      entries.set(name, { ...(entries.get(name) ?? { name, ...empty }), [section]: data });
    }
  }
  return entries;
}

/** The operators that pin this leaf, among those whose name stands on it (eps-protocol 3.4). */
export function pinnedNames(directory: Map<string, Entry>, der: Buffer): string[] {
  const { subject, subjectAltName = "" } = new X509Certificate(der);
  const common = /^CN=(.*)$/m.exec(subject)?.[1] ?? "";
  const alternatives = [...subjectAltName.matchAll(/DNS:([^,]+)/g)].map(([, name = ""]) => name);
  const fingerprint = createHash("sha256").update(der).digest("hex");
  return [common, ...alternatives].filter((name) =>
    directory
      .get(name)
      ?.certificates.some(
        (each) => each.key_usage === "encryption" && each.fingerprint === fingerprint,
      ),
  );
}

/** The first service with such a method decides (eps-protocol 4.3). */
export function allowed(caller: Entry, callee: Entry, method: string): boolean {
  for (const service of callee.services) {
    const found = service.methods.find(({ name }) => name === method);
    if (!found) continue;
    return [...(service.permissions ?? []), ...(found.permissions ?? [])].some(
      ({ group, rights }) =>
        (group === "*" || caller.groups.includes(group)) && rights.includes("call"),
    );
  }
  return false;
}
