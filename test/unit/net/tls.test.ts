import "reflect-metadata"; // must be loaded before x509, which throws without it
import { createHash, KeyObject, webcrypto } from "node:crypto";
import { once } from "node:events";
import { readFile, writeFile } from "node:fs/promises";
import { type AddressInfo, createServer as createTcpServer } from "node:net";
import { createServer, type PeerCertificate } from "node:tls";
import {
  type JsonGeneralNames,
  SubjectAlternativeNameExtension,
  type X509Certificate,
  X509CertificateGenerator,
} from "@peculiar/x509";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { dial } from "../../../src/net/dial.ts";
import { connectTls, leafOf, readTls } from "../../../src/net/tls.ts";
import { Authority } from "../../support/certificates.ts";
import { dialFreely } from "../../support/wires.ts";

const never = new AbortController().signal;
const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };

/** A certificate that somebody signed for himself, with whatever names he likes. */
async function selfSigned(subject: string, names: JsonGeneralNames) {
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
  const certificate = await X509CertificateGenerator.createSelfSigned({
    name: subject,
    keys,
    signingAlgorithm: ALGORITHM,
    extensions: names.length > 0 ? [new SubjectAlternativeNameExtension(names)] : [],
  });
  const key = KeyObject.from(keys.privateKey).export({ type: "pkcs8", format: "pem" }).toString();
  return { certificate, key };
}

/** What Node tells of a certificate that comes in a handshake. */
async function received(certificate: X509Certificate, key: string): Promise<PeerCertificate> {
  const server = createServer({ cert: certificate.toString("pem"), key });
  server.on("secureConnection", (socket) => socket.on("error", () => {}));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const socket = await dialFreely(port);
  const material = { ca: [] as string[] };
  const secure = await connectTls(socket, material, { name: "x", skip_verify: true }, never);
  const seen = secure.getPeerCertificate();
  expect(secure.getPeerCertificate()).toBe(seen); // kept, so that it is read once
  secure.destroy();
  await new Promise((resolve) => server.close(resolve));
  return seen;
}

async function leaf(subject: string, names: JsonGeneralNames) {
  const { certificate, key } = await selfSigned(subject, names);
  return leafOf(await received(certificate, key));
}

describe("the leaf of a TLS connection", () => {
  it("has the common name and then the DNS names, in order", async () => {
    const names = await leaf("CN=hd-1", [
      { type: "dns", value: "b.example" },
      { type: "url", value: "iris-name://hd-9" },
      { type: "dns", value: "a.example" },
      { type: "ip", value: "127.0.0.1" },
    ]);
    expect(names?.names).toEqual(["hd-1", "b.example", "a.example"]);
  });

  it("has the fingerprint of the DER form", async () => {
    const { certificate, key } = await selfSigned("CN=hd-1", []);
    const fingerprint = createHash("sha256").update(Buffer.from(certificate.rawData)).digest("hex");
    const peer = await received(certificate, key);
    expect(leafOf(peer)).toEqual({ names: ["hd-1"], fingerprint });
    expect(leafOf(peer)).toBe(leafOf(peer));
  });

  it.each([
    "a, DNS:hd-2",
    "a, DNS:hd-2, DNS:b",
    "a,DNS:hd-2",
    'a", DNS:hd-2, "',
    "a\\, DNS:hd-2",
    'a\\", DNS:hd-2',
    "a\0, DNS:hd-2",
    "a\n, DNS:hd-2",
    ", DNS:hd-2",
  ])("shows no second name in the name %j", async (hostile) => {
    const one = await leaf("CN=x", [{ type: "dns", value: hostile }]);
    expect(one?.names).toEqual(["x"]);
    const between = await leaf("CN=x", [
      { type: "url", value: `http://${hostile}` },
      { type: "dns", value: "honest" },
    ]);
    expect(between?.names).toEqual(["x", "honest"]);
  });

  it("has each common name, if there are several, or none", async () => {
    expect((await leaf("CN=a, CN=b", []))?.names).toEqual(["a", "b"]);
    expect((await leaf("O=nobody", [{ type: "dns", value: "c" }]))?.names).toEqual(["c"]);
  });

  it("is not there if there was no certificate", () => {
    expect(leafOf(undefined)).toBeUndefined();
    expect(leafOf({} as PeerCertificate)).toBeUndefined();
  });
});

describe("a TLS handshake", () => {
  let authority: Authority;
  const closers: Array<() => unknown> = [];
  beforeAll(async () => {
    authority = await Authority.open();
  });
  afterAll(async () => {
    await authority[Symbol.asyncDispose]();
  });
  afterEach(() => {
    for (const close of closers.splice(0)) close();
  });

  it("ends when it is aborted, and closes the socket", async () => {
    const silent = createTcpServer((socket) => {
      closers.push(() => socket.destroy());
    });
    silent.listen(0, "127.0.0.1");
    await once(silent, "listening");
    closers.push(() => silent.close());
    const socket = await dial(`127.0.0.1:${(silent.address() as AddressInfo).port}`, never);
    const abort = new AbortController();
    const name = { name: "hd-2", skip_verify: false };
    const shaking = connectTls(socket, await readTls(authority.nobody()), name, abort.signal);
    const reason = new Error("enough");
    abort.abort(reason);
    await expect(shaking).rejects.toMatchObject({ fault: "unreachable", cause: reason });
    expect(socket.destroyed).toBe(true);
  });

  it("needs a certificate and a key that belong together", async () => {
    const [one, other] = [await authority.issue("hd-1"), await authority.issue("hd-2")];
    await expect(readTls({ ...one, key_file: other.key_file })).rejects.toMatchObject({
      fault: "settings",
      message: expect.stringContaining("do the two belong together?"),
    });
  });

  it("needs files that are there and are PEM", async () => {
    const papers = await authority.issue("hd-1");
    await expect(readTls({ ...papers, key_file: "/nowhere/key" })).rejects.toMatchObject({
      fault: "settings",
      message: expect.stringContaining("make certs"),
    });
    const wrong = {
      ...papers,
      ca_certificate_files: [import.meta.filename.replace("tls.test", "source.test")],
    };
    await expect(readTls(wrong)).rejects.toMatchObject({
      fault: "settings",
      message: expect.stringContaining("is not a PEM file"),
    });
  });

  it("needs authorities that can be read, since OpenSSL would pass over the others", async () => {
    const papers = await authority.issue("hd-1");
    const [root = ""] = papers.ca_certificate_files;
    const file = `${root}.bad`;
    const refusal = async (text: string): Promise<unknown> => {
      await writeFile(file, text);
      return await readTls({ ...papers, ca_certificate_files: [root, file] }).catch((e) => e);
    };
    const whole = await readFile(root, "utf8");
    expect(await refusal(whole)).toMatchObject({ minVersion: "TLSv1.2" });
    expect(await refusal(whole.slice(0, 200))).toMatchObject({
      fault: "settings",
      message: `${file} is cut off: a block in it has no end`,
    });
    expect(await refusal(whole.replace(/\n.{20}/, "\n"))).toMatchObject({
      fault: "settings",
      message: `${file} holds a certificate that cannot be read`,
    });
  });
});
