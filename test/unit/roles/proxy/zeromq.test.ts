import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { curveKeyPair } from "zeromq";
import { checkProxies } from "../../../../src/roles/proxy/check.ts";
import { portsOf } from "../../../../src/roles/proxy/doors.ts";
import { ProxySettings, ZeromqSettings } from "../../../../src/roles/proxy/settings.ts";
import { readCurve } from "../../../../src/roles/proxy/zeromq.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "eps-curve-"));
});
afterAll(() => rm(folder, { recursive: true }));

describe("the settings of a switch", () => {
  it.each([
    ["10000, 10001, 10002", { responder: 10_000, publisher: 10_001, internal: 10_002 }],
    ["1,2,3", { responder: 1, publisher: 2, internal: 3 }],
    ["10000, 10001", undefined],
    ["10000, 10001, 10002, 10003", undefined],
    ["10000, 10001, 65536", undefined],
    ["a, b, c", undefined],
  ])("read the ports %j as CAMEO does", (text, ports) => {
    expect(portsOf(text)).toEqual(ports);
    expect(ZeromqSettings.safeParse({ proxy_ports: text }).success).toBe(ports !== undefined);
  });

  it("know a key of CURVE when they see one", async () => {
    const { publicKey, secretKey } = curveKeyPair();
    const file = join(folder, "secret");
    const curve = { secret_key_file: file, client_keys: [publicKey] };
    const settings = ZeromqSettings.parse({ proxy_ports: "1,2,3", curve });
    await expect(readCurve(settings)).rejects.toThrow(`cannot read ${file}`);
    await writeFile(file, "this is no key");
    await expect(readCurve(settings)).rejects.toThrow("holds no secret key");
    await writeFile(file, `${secretKey}\n`);
    expect(await readCurve(settings)).toEqual({ secret_key: secretKey, asks: true });
    const wrong = { ...curve, client_keys: ["short"] };
    expect(ZeromqSettings.safeParse({ proxy_ports: "1,2,3", curve: wrong }).success).toBe(false);
  });

  it("need tls_bind_address and tls together", () => {
    const tls = { ca_certificate_files: ["root.crt"] };
    const fits = (more: object): boolean =>
      ZeromqSettings.safeParse({ proxy_ports: "1,2,3", ...more }).success;
    expect(fits({ tls })).toBe(false);
    expect(fits({ tls_bind_address: ":1" })).toBe(false);
    expect(fits({ tls, tls_bind_address: ":1" })).toBe(true);
  });

  it("are checked: a key that is missing is a problem, a port where nobody listens a note", async () => {
    const curve = { secret_key_file: join(folder, "missing") };
    const settings = ProxySettings.parse({ zeromq: { proxy_ports: "1,2,3", curve } });
    const found = [];
    for await (const each of checkProxies(settings, new AbortController().signal)) found.push(each);
    expect(found.filter(({ severity }) => severity === "problem")).toHaveLength(1);
    expect(found.filter(({ severity }) => severity === "note")).toHaveLength(3);
  });
});
