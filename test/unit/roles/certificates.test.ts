import { execFile, execFileSync } from "node:child_process";
import { createPrivateKey, X509Certificate } from "node:crypto";
import { once } from "node:events";
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect, createServer, type TLSSocket } from "node:tls";
import { promisify } from "node:util";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { makeCertificates } from "../../../src/roles/dev/certificates.ts";
import { warnAboutExpiry } from "../../../src/roles/dev/expiry.ts";

const OPERATORS = [
  ...["op-1", "op-2", "hd-1", "hd-2", "ls-1", "internal-server"],
  ...["public-proxy-1.ga", "private-proxy-1.ga", "sd-1", "demo-app"],
];
const DAY_MS = 24 * 60 * 60 * 1000;
const PEM = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

const hasOpenssl = (() => {
  try {
    execFileSync("openssl", ["version"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
})();

describe.each(["ecdsa", "rsa"] as const)("a set of certificates with %s keys", (keys) => {
  let folder: string;
  let certs: string;
  let directory: string;
  const told: string[] = [];
  const tell = (line: string): void => void told.push(line);
  const text = (name: string): Promise<string> => readFile(join(certs, name), "utf8");
  const chain = async (name: string): Promise<X509Certificate[]> =>
    [...(await text(`${name}.crt`)).matchAll(PEM)].map(([pem]) => new X509Certificate(pem));
  const only = async (name: string): Promise<X509Certificate> => {
    const [first] = await chain(name);
    if (!first) throw new Error(`no certificate in ${name}.crt`);
    return first;
  };

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "certs-"));
    certs = join(folder, "not", "yet", "certs");
    directory = join(folder, "directory");
    await makeCertificates({ certs, directory }, { keys, force: false }, tell);
  });
  afterAll(() => rm(folder, { recursive: true }));

  it("has a key and a certificate for everybody, and nothing else", async () => {
    const suffixes = ["", "-alt", "-sign", "-sign-alt"];
    const names = OPERATORS.flatMap((operator) => suffixes.map((suffix) => operator + suffix));
    const expected = [...names, "root", "intermediate"].flatMap((name) => [
      `${name}.crt`,
      `${name}.key`,
    ]);
    expect((await readdir(certs)).sort()).toEqual(expected.sort());
    expect(await readdir(join(folder, "not", "yet"))).toEqual(["certs"]);
  });

  it("tells of each operator", () => {
    for (const operator of OPERATORS) expect(told).toContain(`  ${operator}`);
  });

  it("shows its keys to their owner alone", async () => {
    for (const name of await readdir(certs)) {
      const { mode } = await stat(join(certs, name));
      if (name.endsWith(".key")) expect.soft(mode & 0o777, name).toBe(0o600);
    }
  });

  it("has keys of the kinds the original reads, each fitting its certificate", async () => {
    for (const name of (await readdir(certs)).filter((each) => each.endsWith(".key"))) {
      const pem = await text(name);
      const key = createPrivateKey(pem);
      const signs = /-sign(-alt)?\.key$/.test(name);
      expect
        .soft(pem, name)
        .toMatch(signs ? /^-----BEGIN EC PRIVATE KEY/ : /^-----BEGIN PRIVATE KEY/);
      if (signs || keys === "ecdsa") {
        expect.soft(key.asymmetricKeyDetails, name).toEqual({ namedCurve: "prime256v1" });
      } else {
        expect.soft(key.asymmetricKeyDetails, name).toMatchObject({ modulusLength: 2048 });
      }
      expect.soft((await only(name.replace(".key", ""))).checkPrivateKey(key), name).toBe(true);
    }
  });

  it("has an authority of two steps, each valid at least as long as what it signed", async () => {
    const root = await only("root");
    const intermediate = await only("intermediate");
    expect(root.subject.split("\n").sort()).toEqual(["CN=Testing-Development", "O=IRIS"]);
    expect(root.ca && intermediate.ca).toBe(true);
    expect(root.checkIssued(root) && root.verify(root.publicKey)).toBe(true);
    expect(intermediate.checkIssued(root) && intermediate.verify(root.publicKey)).toBe(true);
    expect(days(root)).toBe(1024);
    expect(days(intermediate)).toBe(500);
    for (const operator of OPERATORS) {
      for (const suffix of ["", "-alt", "-sign", "-sign-alt"]) {
        const [leaf, above, ...more] = await chain(operator + suffix);
        expect(leaf?.ca).toBe(false);
        expect(leaf?.checkIssued(intermediate)).toBe(true);
        expect(leaf?.verify(intermediate.publicKey)).toBe(true);
        expect(above?.fingerprint256).toBe(intermediate.fingerprint256);
        expect(more).toEqual([]);
        expect(leaf && days(leaf)).toBe(500);
        expect(leaf?.validTo).toBe(intermediate.validTo);
      }
    }
  });

  it("names operators as the original does", async () => {
    for (const operator of OPERATORS) {
      const group = operator === "hd-1" ? "sd-admin" : "";
      for (const suffix of ["", "-alt"]) {
        const tls = await only(operator + suffix);
        expect(tls.subject).toBe(`CN=${operator}`);
        expect(tls.subjectAltName).toBe(`DNS:${operator}, DNS:*.${operator}.local`);
        expect(tls.keyUsage).toBeUndefined();
        const sign = await only(`${operator}-sign${suffix}`);
        expect(sign.subject).toBe(`CN=${operator}`);
        expect(sign.subjectAltName).toBe(
          `URI:iris-name://${operator}, URI:iris-group://${group}, DNS:${operator}`,
        );
      }
    }
    const internal = await only("internal-server");
    expect(internal.checkHost("test.internal-server.local")).toBe("*.internal-server.local");
  });

  it("has its fingerprints in the directory", async () => {
    expect(await readdir(directory)).toEqual(["002_certificates.json"]);
    const fingerprint = async (name: string) =>
      (await only(name)).fingerprint256.replaceAll(":", "").toLowerCase();
    const { records } = JSON.parse(
      await readFile(join(directory, "002_certificates.json"), "utf8"),
    );
    expect(records).toEqual(
      await Promise.all(
        OPERATORS.map(async (name) => ({
          section: "certificates",
          created_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
          name,
          data: [
            { fingerprint: await fingerprint(`${name}-sign`), key_usage: "signing" },
            { fingerprint: await fingerprint(name), key_usage: "encryption" },
          ],
        })),
      ),
    );
  });

  it("lets two operators meet over TLS and know each other", async () => {
    const files = async (name: string) => ({
      key: await text(`${name}.key`),
      cert: await text(`${name}.crt`),
      ca: await text("root.crt"),
    });
    const server = createServer(
      { ...(await files("hd-1")), requestCert: true, rejectUnauthorized: true },
      (socket: TLSSocket) => socket.end(String(socket.getPeerCertificate().subject.CN)),
    );
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    try {
      const { port } = server.address() as AddressInfo;
      const socket = connect({
        port,
        host: "127.0.0.1",
        servername: "hd-1",
        ...(await files("op-1")),
      });
      // Only an answer proves that the server accepted us: the handshake ends earlier on our side.
      const [answer] = await once(socket, "data");
      expect(String(answer)).toBe("op-1");
      expect(socket.authorized).toBe(true);
      expect(socket.getPeerCertificate().subject.CN).toBe("hd-1");
      socket.destroy();
    } finally {
      server.close();
    }
  });

  it.runIf(hasOpenssl)("is beyond reproach to OpenSSL", async () => {
    const openssl = async (...args: string[]) =>
      (await promisify(execFile)("openssl", args, { cwd: certs })).stdout;
    for (const operator of OPERATORS) {
      for (const suffix of ["", "-alt", "-sign", "-sign-alt"]) {
        const file = `${operator}${suffix}.crt`;
        const authority = ["-CAfile", "root.crt", "-untrusted", "intermediate.crt"];
        expect(await openssl("verify", "-x509_strict", ...authority, file)).toBe(`${file}: OK\n`);
      }
    }
    const shown = await openssl("x509", "-in", "intermediate.crt", "-noout", "-text");
    expect(shown).toMatch(/Basic Constraints: critical\s+CA:TRUE, pathlen:0/);
    expect(shown).toMatch(/Key Usage: critical\s+Certificate Sign, CRL Sign/);
    expect(await openssl("x509", "-in", "hd-1.crt", "-noout", "-text")).not.toMatch(/Key Usage/);
    expect(await openssl("x509", "-in", "hd-1-sign.crt", "-noout", "-text")).toMatch(
      /Key Usage: critical\s+Digital Signature\n/,
    );
  });
});

describe("making certificates", () => {
  let folder: string;
  const told: string[] = [];
  const tell = (line: string): void => void told.push(line);
  const make = (force: boolean) =>
    makeCertificates(
      { certs: join(folder, "certs"), directory: join(folder, "directory") },
      { keys: "ecdsa", force },
      tell,
    );
  const everything = async () =>
    Promise.all(
      ["certs/root.crt", "certs/hd-1.key", "directory/002_certificates.json"].map((name) =>
        readFile(join(folder, name), "utf8"),
      ),
    );

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "certs-"));
    await make(false);
  });
  afterAll(() => rm(folder, { recursive: true }));
  afterEach(() => {
    vi.useRealTimers();
    told.length = 0;
  });

  it("refuses to replace a set, and says how it would", async () => {
    const before = await everything();
    await expect(make(false)).rejects.toMatchObject({ fault: "conflict" });
    await expect(make(false)).rejects.toThrow("--force");
    expect(await everything()).toEqual(before);
  });

  it("refuses to complete half a set", async () => {
    const half = join(folder, "half");
    await mkdir(half);
    await writeFile(join(half, "hd-1.key"), "somebody needs this");
    await expect(
      makeCertificates({ certs: half, directory: half }, { keys: "ecdsa", force: false }, tell),
    ).rejects.toMatchObject({ fault: "conflict" });
    expect(await readdir(half)).toEqual(["hd-1.key"]);
  });

  it("replaces a set as a whole when told to, and says what that means", async () => {
    const before = await everything();
    await writeFile(join(folder, "certs", "README.md"), "stays");
    await writeFile(join(folder, "certs", "gone.crt"), "goes");
    await mkdir(join(folder, "certs.new")); // what an interrupted run leaves
    await writeFile(join(folder, "certs.new", "hd-1.key"), "half");
    await make(true);
    const after = await everything();
    for (const [i, text] of after.entries()) expect(text).not.toBe(before[i]);
    expect(await readFile(join(folder, "certs", "README.md"), "utf8")).toBe("stays");
    expect(await readdir(join(folder, "certs"))).not.toContain("gone.crt");
    expect((await readdir(folder)).sort()).toEqual(["certs", "directory", "half"]);
    expect(told.at(-1)).toMatch(/old keys .* remove the data/);
  });

  it("is called for by certificates that expire within 30 days, or did", async () => {
    const certs = join(folder, "certs");
    const start = Date.now();
    vi.useFakeTimers({ toFake: ["Date"] });
    vi.setSystemTime(start + 469 * DAY_MS);
    await warnAboutExpiry(certs, tell);
    expect(told).toEqual([]);

    vi.setSystemTime(start + 471 * DAY_MS);
    await warnAboutExpiry(certs, tell);
    expect(told).toHaveLength(41);
    expect(told[0]).toMatch(/demo-app-alt\.crt expires on \d{4}-\d\d-\d\d; .*make certs FORCE=1/);
    told.length = 0;

    vi.setSystemTime(start + 501 * DAY_MS);
    await warnAboutExpiry(certs, tell);
    expect(told[0]).toMatch(/expired on/);
    told.length = 0;

    await warnAboutExpiry(join(folder, "nowhere"), tell);
    expect(told).toEqual([]);
  });

  it("is called for by what is no certificate", async () => {
    const broken = join(folder, "broken");
    await mkdir(broken);
    await writeFile(join(broken, "hd-1.crt"), "");
    await warnAboutExpiry(broken, tell);
    expect(told).toEqual([expect.stringMatching(/hd-1\.crt is no certificate/)]);
  });
});

function days(certificate: X509Certificate): number {
  return (Date.parse(certificate.validTo) - Date.parse(certificate.validFrom)) / DAY_MS;
}
