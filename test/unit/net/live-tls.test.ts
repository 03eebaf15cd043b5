import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { cp, mkdir, mkdtemp, readFile, rename, rm, symlink, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { connect as connectTls, type TLSSocket } from "node:tls";
import { pino } from "pino";
import { afterAll, describe, expect, it } from "vitest";
import { silent } from "../../../src/core/log.ts";
import { openTls } from "../../../src/net/live-tls.ts";
import type { TlsSettings } from "../../../src/net/settings.ts";
import { acceptTls, leafOf, readTls } from "../../../src/net/tls.ts";
import { JsonrpcClient } from "../../../src/rpc/jsonrpc/client.ts";
import { openJsonrpcServer } from "../../../src/rpc/jsonrpc/server.ts";
import { Authority } from "../../support/certificates.ts";
import { until } from "../../support/until.ts";

const cleanup: Array<() => unknown> = [];
afterAll(async () => {
  for (const each of cleanup.reverse()) await each();
});

type Line = { level: number; msg: string; reason?: string; fingerprint?: string };

/** A log whose lines can be read. */
function noted(): { log: typeof silent; lines: Line[] } {
  const lines: Line[] = [];
  return { log: pino({}, { write: (line: string) => lines.push(JSON.parse(line)) }), lines };
}

async function anAuthority(): Promise<Authority> {
  const authority = await Authority.open();
  cleanup.push(() => authority[Symbol.asyncDispose]());
  return authority;
}

async function fingerprintOf({ certificate_file }: TlsSettings): Promise<string> {
  const { fingerprint256 } = new X509Certificate(await readFile(certificate_file ?? ""));
  return fingerprint256.replaceAll(":", "").toLowerCase();
}

/** A TLS server whose certificate follows its files, and which sends back what it hears. */
async function echoing(tls: TlsSettings, log = silent): Promise<number> {
  const files = await openTls(tls, { log });
  const acceptor = acceptTls(
    files.current,
    { ...tls, verify_client: false, alpn: ["h2"] },
    { secured: (socket) => socket.on("error", () => {}).pipe(socket), failed: () => {} },
  );
  files.onChange((material) => acceptor.renew(material));
  const server = createServer((socket) => acceptor.accept(socket)).listen(0, "127.0.0.1");
  await once(server, "listening");
  cleanup.push(async () => {
    server.close();
    await files[Symbol.asyncDispose]();
    await acceptor[Symbol.asyncDispose]();
  });
  return (server.address() as { port: number }).port;
}

async function secured(port: number): Promise<{ socket: TLSSocket; shown: string | undefined }> {
  const socket = connectTls({ port, host: "127.0.0.1", rejectUnauthorized: false });
  cleanup.push(() => void socket.destroy());
  await once(socket, "secureConnect");
  return { socket, shown: leafOf(socket.getPeerCertificate())?.fingerprint };
}

async function showsNow(port: number, fingerprint: string): Promise<boolean> {
  const { socket, shown } = await secured(port);
  socket.destroy();
  return shown === fingerprint;
}

describe.concurrent("TLS files that change", () => {
  it("are used by the next handshake, while connections that are open go on", async () => {
    const authority = await anAuthority();
    const port = await echoing(await authority.issue("hd-1"));
    const before = await secured(port);
    const renewed = await fingerprintOf(await authority.issue("hd-1"));
    expect(before.shown).not.toBe(renewed);
    await until(() => showsNow(port, renewed), "the new certificate is shown");
    before.socket.write("still here");
    expect(`${(await once(before.socket, "data"))[0]}`).toBe("still here");
  });

  it("may be renewed by a symbolic link that leads to another folder", async () => {
    const authority = await anAuthority();
    const folder = await mkdtemp(join(tmpdir(), "eps-links-"));
    cleanup.push(() => rm(folder, { recursive: true }));
    const papers = await authority.issue("hd-1");
    const copy = async (version: string): Promise<void> => {
      await mkdir(join(folder, version));
      await cp(dirname(papers.certificate_file ?? ""), join(folder, version), { recursive: true });
      await symlink(version, join(folder, `to-${version}`));
      await rename(join(folder, `to-${version}`), join(folder, "now"));
    };
    await copy("1");
    const behindLink = (file = ""): string => join(folder, "now", basename(file));
    const port = await echoing({
      ...papers,
      certificate_file: behindLink(papers.certificate_file),
      key_file: behindLink(papers.key_file),
    });
    const renewed = await fingerprintOf(await authority.issue("hd-1"));
    expect(await showsNow(port, renewed)).toBe(false);
    await copy("2");
    await until(() => showsNow(port, renewed), "the certificate behind the link is shown");
  });

  it("change nothing until they can be used, and are told of by name", async () => {
    const [authority, other] = [await anAuthority(), await anAuthority()];
    const papers = await authority.issue("hd-1");
    const first = await fingerprintOf(papers);
    const { log, lines } = noted();
    const port = await echoing(papers, log);
    const { key } = await readTls(papers);
    const foreign = await readTls(await other.issue("hd-1"));
    await writeFile(papers.key_file ?? "", foreign.key ?? "");
    await until(() => lines.length === 1, "the wrong key is told of");
    expect(lines[0]).toMatchObject({ level: 40, reason: expect.stringContaining("hd-1.key") });
    expect(await showsNow(port, first)).toBe(true);
    await writeFile(papers.key_file ?? "", (key ?? "").slice(0, 60));
    await until(() => lines.length === 2, "the half written key is told of");
    expect(lines[1]?.reason).toMatch(/hd-1\.key is cut off/);
    const renewed = await fingerprintOf(await authority.issue("hd-1"));
    await until(() => showsNow(port, renewed), "the usable certificate is shown");
    expect(lines.at(-1)).toMatchObject({ level: 30, fingerprint: renewed });
    expect(lines).toHaveLength(3);
  });

  it("are used on both sides of JSON-RPC, without losing a call that is under way", async () => {
    const authority = await anAuthority();
    const served = await authority.issue("hd-1");
    let answer = (): void => {};
    const slow = new Promise<void>((resolve) => {
      answer = resolve;
    });
    const server = await openJsonrpcServer(
      { bind_address: "localhost:0", path: "/jsonrpc", body_max: 1_000, tls: served },
      {
        serve: async ({ method }) => {
          if (method === "slow") await slow;
          return { result: { method } };
        },
        log: silent,
        setting: "test",
      },
    );
    cleanup.push(() => server[Symbol.asyncDispose]());
    const mine = await authority.issue("hd-2");
    const { log, lines } = noted();
    const client = await JsonrpcClient.open(
      {
        endpoint: `https://localhost:${server.port}/jsonrpc`,
        local: true,
        tls: { ...mine, server_name: "hd-1" },
      },
      { log },
    );
    cleanup.push(() => client[Symbol.asyncDispose]());
    const underWay = client.call({ method: "slow", params: {} });
    const renewed = await fingerprintOf(await authority.issue("hd-1"));
    await authority.issue("hd-2");
    await until(() => lines.length === 1, "the client has seen its new files");
    await until(() => showsNow(server.port, renewed), "the server shows its new certificate");
    expect(await client.call({ method: "next", params: {} })).toEqual({
      result: { method: "next" },
    });
    answer();
    expect(await underWay).toEqual({ result: { method: "slow" } });
  });
});
