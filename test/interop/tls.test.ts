import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createServer, type TLSSocket } from "node:tls";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { connectTls, readTls } from "../../src/net/tls.ts";
import {
  type Issued,
  makeIntermediate,
  makeRoot,
  makeTlsLeaf,
  privateKeyPem,
} from "../../src/roles/dev/issue.ts";
import { dialFreely } from "../support/wires.ts";
import { tlsOf } from "./original/certificates.ts";

const NAMES = ["hd-1", "hd-2"];
const CIPHERS = { ecdsa: "ECDHE-ECDSA-AES128-GCM-SHA256", rsa: "AES128-GCM-SHA256" };

describe.each(["ecdsa", "rsa"] as const)("TLS from us to an original with %s keys", (keys) => {
  let folder: string;
  let intermediate: Issued;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "original-tls-"));
    const root = await makeRoot(keys, new Date());
    intermediate = await makeIntermediate(keys, new Date(), root);
    await writeFile(join(folder, "root.crt"), root.certificate.toString("pem"));
    for (const name of NAMES) {
      const leaf = await makeTlsLeaf(name, keys, new Date(), intermediate);
      const chain = [leaf, intermediate].map((each) => each.certificate.toString("pem"));
      await writeFile(join(folder, `${name}.crt`), `${chain.join("\n")}\n`);
      await writeFile(join(folder, `${name}.key`), privateKeyPem(leaf, "pkcs8"));
    }
  });
  afterAll(() => rm(folder, { recursive: true }));

  it.each(["TLSv1.2", "TLSv1.3"] as const)(
    "is %s with a suite that it has, h2, and our leaf with the intermediate [grpc 2]",
    async (version) => {
      const server = createServer({
        ...tlsOf(folder, "hd-2"), // which knows the root and not the intermediate
        maxVersion: version,
        requestCert: true,
        rejectUnauthorized: true,
        ALPNProtocols: ["h2"],
      });
      server.listen(0, "127.0.0.1");
      await once(server, "listening");
      const accepted = once(server, "secureConnection") as Promise<[TLSSocket]>;
      const socket = await dialFreely((server.address() as { port: number }).port);
      const ours = await readTls({
        ca_certificate_files: [join(folder, "root.crt")],
        certificate_file: join(folder, "hd-1.crt"),
        key_file: join(folder, "hd-1.key"),
      });
      const wanted = { name: "hd-2", skip_verify: false };
      const secure = await connectTls(socket, ours, wanted, new AbortController().signal);
      const [theirs] = await accepted;
      expect(secure.getProtocol()).toBe(version);
      if (version === "TLSv1.2") expect(secure.getCipher().name).toBe(CIPHERS[keys]);
      expect(secure.alpnProtocol).toBe("h2");
      expect(theirs.authorized).toBe(true);
      expect(theirs.getPeerCertificate().subject.CN).toBe("hd-1");
      secure.destroy();
      server.close();
    },
  );
});
