import { createHash, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { p256 } from "@noble/curves/nist.js";
import { tlsOf } from "./certificates.ts";
import { OriginalError, OriginalJsonrpcServer } from "./jsonrpc.ts";
import type { Json, JsonObject } from "./messages.ts";
import { structuredHash } from "./structured-hash.ts";

export type Signed = {
  parent_hash: string;
  hash: string;
  signature: { r: string; s: string; c: string };
  record: { name: string; section: string; data: JsonObject[]; created_at: string };
};

/** A service directory as the original program is (eps-protocol 8.6, 8.7): every refusal reads the same. */
export class OriginalSd implements AsyncDisposable {
  readonly records: Signed[] = [];
  /** The parameters of every `getRecords`. */
  readonly asked: JsonObject[] = [];
  readonly #server: OriginalJsonrpcServer;
  readonly #certs: string;

  constructor(certs: string) {
    this.#certs = certs;
    this.#server = new OriginalJsonrpcServer(
      ({ method, params }) => this.#answer(method, params),
      tlsOf(certs, "sd-1"),
    );
  }

  async listen(port: number): Promise<void> {
    await this.#server.listen(port);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server[Symbol.asyncDispose]();
  }

  #answer(method: string, params: JsonObject): Json {
    if (method === "getTip") return (this.records.at(-1) ?? null) as unknown as Json;
    if (method === "getRecords") {
      this.asked.push(params); // `wait_ms` means nothing here
      const known = this.records.findIndex(({ hash }) => hash === params["after"]);
      return this.records.slice(known + 1) as unknown as Json;
    }
    if (method !== "submitRecords") throw new OriginalError(-32601, "method not found");
    for (const record of params["records"] as unknown as Signed[]) this.#take(record);
    return "ok";
  }

  #take({ parent_hash, hash, signature, record }: Signed): void {
    const { name, section, data, created_at } = record;
    const normal = {
      name,
      section,
      data: data.map((each) => normalised(section, each)),
      created_at,
    };
    const signed = { parent_hash, hash, signature, record: normal };
    try {
      if (parent_hash !== "" && parent_hash !== this.records.at(-1)?.hash) throw new Error("stale");
      verify(signed, this.records, this.#certs);
    } catch {
      throw new OriginalError(-32603, "internal error");
    }
    if (parent_hash === "") this.records.length = 0;
    this.records.push(signed);
  }
}

/** Throws unless a record is what its hash, its signature, its signer and the pins say (eps-protocol 8.5). */
export function verify(
  { parent_hash, hash, signature, record }: Signed,
  preceding: readonly Signed[],
  certs: string,
): void {
  const insist = (holds: boolean, what: string): void => {
    if (!holds) throw new Error(`${what} of record ${hash}`);
  };
  const read = (file: string) => new X509Certificate(readFileSync(join(certs, file)));
  insist(structuredHash(record).toString("hex") === hash, "invalid hash value");
  insist(/^\d{10,100}$/.test(signature.r) && /^\d{10,100}$/.test(signature.s), "invalid numbers");

  const signer = new X509Certificate(signature.c);
  const [root, intermediate] = [read("root.crt"), read("intermediate.crt")];
  insist(signer.verify(intermediate.publicKey) && intermediate.verify(root.publicKey), "the chain");
  const alternatives = signer.subjectAltName ?? "";
  const subject = /URI:iris-name:\/\/([^,]+)/.exec(alternatives)?.[1];
  insist(/URI:iris-group:\/\/sd-admin(,|$)/.test(alternatives) && !!subject, "the group");
  insist(signer.publicKey.asymmetricKeyType === "ec", "the key");

  const pinned = preceding
    .filter((each) => each.record.section === "certificates" && each.record.name === subject)
    .at(-1)
    ?.record.data.filter((each) => each["key_usage"] === "signing")
    .at(-1)?.["fingerprint"];
  const fingerprint = createHash("sha256").update(signer.raw).digest("hex");
  insist(pinned === undefined || pinned === fingerprint, "the pin");

  const digest = structuredHash({ hash, parent_hash, record });
  const bytes = [signature.r, signature.s].map((number) =>
    Buffer.from(BigInt(number).toString(16).padStart(64, "0"), "hex"),
  );
  const { x = "", y = "" } = signer.publicKey.export({ format: "jwk" });
  const point = [Buffer.from([4]), Buffer.from(x, "base64url"), Buffer.from(y, "base64url")];
  const options = { prehash: false, lowS: false };
  insist(p256.verify(Buffer.concat(bytes), digest, Buffer.concat(point), options), "the signature");
}

/** The form of an element that originals hash, store and serve (eps-protocol 8.2). */
export function normalised(section: string, element: Json): JsonObject {
  if (typeof element === "string") return element as unknown as JsonObject; // a group
  const { ...all } = element as JsonObject;
  const list = (value: Json | undefined, each: (item: JsonObject) => JsonObject): JsonObject[] =>
    ((value || []) as JsonObject[]).map(each);
  const given = (key: string, value: Json | undefined) => (value ? { [key]: value } : {});
  if (section === "channels")
    return { type: all["type"] ?? "", ...given("settings", all["settings"]) };
  if (section === "certificates") {
    return { fingerprint: all["fingerprint"] ?? "", key_usage: all["key_usage"] ?? "" };
  }
  if (section === "services") {
    const permission = (each: JsonObject) => ({
      group: each["group"] ?? "",
      rights: each["rights"] ?? [],
    });
    return {
      name: all["name"] ?? "",
      permissions: list(all["permissions"], permission),
      methods: list(all["methods"], (method) => ({
        name: method["name"] ?? "",
        permissions: list(method["permissions"], permission),
        ...(method["parameters"] ? { parameters: method["parameters"] } : {}),
      })),
    };
  }
  const { operator, service, environment, settings } = all;
  return {
    operator: operator || "",
    service: service || "",
    environment: environment || "",
    settings: settings ?? {},
  };
}

/** Nanoseconds since 1970 of a time in RFC 3339, of which `Date` would keep milliseconds. */
export function nanoseconds(time: string): bigint {
  const [, whole = "", fraction = "", zone = ""] =
    /^([^.]*?)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)$/.exec(time) ?? [];
  return BigInt(Date.parse(whole + zone)) * 1_000_000n + BigInt(fraction.padEnd(9, "0"));
}
