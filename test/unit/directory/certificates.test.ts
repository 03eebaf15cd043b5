import { spawnSync } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { openTrust } from "../../../src/directory/certificates.ts";
import { parseCertificate, parseSigner } from "../../../src/directory/x509.ts";
import {
  authority,
  cRLSign,
  digitalSignature,
  type Holder,
  issue,
  issueRoot,
  issueSigner,
  keyCertSign,
  names,
  purposes,
  trusting,
  uris,
  usage,
} from "./authority.ts";
import { SIGNER } from "./vectors.ts";

const CODE_SIGNING = "1.3.6.1.5.5.7.3.3";
const SERVER_AUTH = "1.3.6.1.5.5.7.3.1";
const ANY = "2.5.29.37.0";

const ca = (name: string, issuer: Holder, pathLength?: number) =>
  issue({ name, issuer, extensions: [authority(pathLength), usage(keyCertSign)] });
const signing = (...more: Parameters<typeof purposes>) => [
  usage(digitalSignature),
  names("hd-1", "sd-admin"),
  ...(more.length > 0 ? [purposes(...more)] : []),
];

/** A family of certificates, what should become of its signer, and whether OpenSSL sees it too. */
type Animal = {
  what: string;
  make: () => Promise<{ roots: Holder[]; intermediates?: Holder[]; signer: Holder }>;
  refused?: RegExp;
  oracle: boolean;
};

const ZOO: Animal[] = [
  {
    what: "a signer right under the root",
    oracle: true,
    make: async () => {
      const root = await issueRoot();
      return { roots: [root], signer: await issueSigner("hd-1", root) };
    },
  },
  {
    what: "a signer under an RSA root and an RSA intermediate",
    oracle: true,
    make: async () => {
      const root = await issueRoot("rsa-root", { rsa: true });
      const between = await issue({
        name: "rsa-between",
        issuer: root,
        rsa: true,
        extensions: [authority(0), usage(keyCertSign | cRLSign)],
      });
      return {
        roots: [root],
        intermediates: [between],
        signer: await issueSigner("hd-1", between),
      };
    },
  },
  {
    what: "a root without key usage",
    oracle: true,
    make: async () => {
      const root = await issueRoot("plain", { extensions: [authority()] });
      return { roots: [root], signer: await issueSigner("hd-1", root) };
    },
  },
  {
    what: "five certificates in a row",
    oracle: true,
    make: async () => {
      const root = await issueRoot();
      const first = await ca("first", root);
      const second = await ca("second", first);
      const third = await ca("third", second);
      return {
        roots: [root],
        intermediates: [third, first, second],
        signer: await issueSigner("hd-1", third),
      };
    },
  },
  {
    what: "six certificates in a row",
    oracle: false,
    refused: /more than 5 certificates/,
    make: async () => {
      const root = await issueRoot();
      const chain = [root];
      for (const name of ["a", "b", "c", "d"]) chain.push(await ca(name, chain.at(-1) as Holder));
      return {
        roots: [root],
        intermediates: chain.slice(1),
        signer: await issueSigner("hd-1", chain.at(-1) as Holder),
      };
    },
  },
  {
    what: "an expired signer",
    oracle: true,
    refused: /the certificate of hd-1 \([0-9a-f]{64}\) expired on \d{4}-/,
    make: async () => {
      const root = await issueRoot("root", { from: -20 });
      return { roots: [root], signer: await issueSigner("hd-1", root, { from: -9, until: -1 }) };
    },
  },
  {
    what: "a signer of tomorrow",
    oracle: true,
    refused: /is valid only from/,
    make: async () => {
      const root = await issueRoot();
      return { roots: [root], signer: await issueSigner("hd-1", root, { from: 1 }) };
    },
  },
  {
    what: "an expired intermediate",
    oracle: true,
    refused: /these expired: CN=between on \d{4}-/,
    make: async () => {
      const root = await issueRoot("root", { from: -20 });
      const between = await issue({
        name: "between",
        issuer: root,
        from: -9,
        until: -1,
        extensions: [authority(), usage(keyCertSign)],
      });
      return {
        roots: [root],
        intermediates: [between],
        signer: await issueSigner("hd-1", between),
      };
    },
  },
  {
    what: "an expired root",
    oracle: true,
    refused: /these expired: CN=root on \d{4}-/,
    make: async () => {
      const root = await issueRoot("root", { from: -20, until: -1 });
      return { roots: [root], signer: await issueSigner("hd-1", root) };
    },
  },
  {
    what: "somebody else's root",
    oracle: true,
    refused: /No valid certificate paths found/,
    make: async () => {
      const [root, other] = [await issueRoot(), await issueRoot()];
      return { roots: [root], signer: await issueSigner("hd-1", other) };
    },
  },
  {
    what: "a signer that signed itself",
    oracle: true,
    refused: /is not trusted/,
    make: async () => ({
      roots: [await issueRoot()],
      signer: await issue({ name: "hd-1", extensions: signing() }),
    }),
  },
  {
    what: "a missing intermediate",
    oracle: true,
    refused: /is not trusted/,
    make: async () => {
      const root = await issueRoot();
      return { roots: [root], signer: await issueSigner("hd-1", await ca("between", root)) };
    },
  },
  {
    what: "a leaf that plays authority",
    oracle: true,
    refused: /not a CA certificate/,
    make: async () => {
      const root = await issueRoot();
      const leaf = await issueSigner("hd-2", root);
      return { roots: [root], intermediates: [leaf], signer: await issueSigner("hd-1", leaf) };
    },
  },
  {
    what: "an authority that may not sign certificates",
    oracle: true,
    refused: /not a CA certificate/,
    make: async () => {
      const root = await issueRoot();
      const between = await issue({
        name: "between",
        issuer: root,
        extensions: [authority(), usage(cRLSign)],
      });
      return {
        roots: [root],
        intermediates: [between],
        signer: await issueSigner("hd-1", between),
      };
    },
  },
  {
    what: "more authorities than the root allows",
    oracle: true,
    refused: /pathLen/,
    make: async () => {
      const root = await issueRoot("root", { extensions: [authority(0), usage(keyCertSign)] });
      const between = await ca("between", root);
      return {
        roots: [root],
        intermediates: [between],
        signer: await issueSigner("hd-1", between),
      };
    },
  },
  {
    what: "more authorities than an intermediate allows",
    oracle: true,
    refused: /pathLen/,
    make: async () => {
      const root = await issueRoot();
      const first = await ca("first", root, 0);
      const second = await ca("second", first);
      return {
        roots: [root],
        intermediates: [first, second],
        signer: await issueSigner("hd-1", second),
      };
    },
  },
  {
    what: "a purpose that is not code signing",
    oracle: false,
    refused: /does not allow codeSigning/,
    make: async () => {
      const root = await issueRoot();
      const signer = await issue({ name: "hd-1", issuer: root, extensions: signing(SERVER_AUTH) });
      return { roots: [root], signer };
    },
  },
  {
    what: "an authority for servers only",
    oracle: false,
    refused: /does not allow codeSigning/,
    make: async () => {
      const root = await issueRoot();
      const extensions = [authority(), usage(keyCertSign), purposes(SERVER_AUTH)];
      const between = await issue({ name: "between", issuer: root, extensions });
      return {
        roots: [root],
        intermediates: [between],
        signer: await issueSigner("hd-1", between),
      };
    },
  },
  ...[CODE_SIGNING, ANY].map((purpose) => ({
    what: `the purpose ${purpose}`,
    oracle: true,
    make: async () => {
      const root = await issueRoot();
      const extensions = signing(SERVER_AUTH, purpose);
      return { roots: [root], signer: await issue({ name: "hd-1", issuer: root, extensions }) };
    },
  })),
  {
    what: "no digitalSignature",
    oracle: false,
    refused: /lacks digitalSignature/,
    make: async () => {
      const root = await issueRoot();
      const extensions = [usage(keyCertSign), names("hd-1", "sd-admin")];
      return { roots: [root], signer: await issue({ name: "hd-1", issuer: root, extensions }) };
    },
  },
  {
    what: "no key usage at all",
    oracle: false,
    refused: /lacks digitalSignature/,
    make: async () => {
      const root = await issueRoot();
      const extensions = [names("hd-1", "sd-admin")];
      return { roots: [root], signer: await issue({ name: "hd-1", issuer: root, extensions }) };
    },
  },
  {
    what: "an RSA signer",
    oracle: false,
    refused: /not an ECDSA key/,
    make: async () => {
      const root = await issueRoot();
      return { roots: [root], signer: await issueSigner("hd-1", root, { rsa: true }) };
    },
  },
  {
    what: "a signer on a curve whose numbers are too long",
    oracle: false,
    refused: /P-256/,
    make: async () => {
      const root = await issueRoot();
      return { roots: [root], signer: await issueSigner("hd-1", root, { curve: "P-384" }) };
    },
  },
  {
    what: "a signer without a name",
    oracle: false,
    refused: /no SAN URI iris-name/,
    make: async () => {
      const root = await issueRoot();
      const extensions = [usage(digitalSignature)];
      return { roots: [root], signer: await issue({ name: "hd-1", issuer: root, extensions }) };
    },
  },
  {
    what: "a signer with two names",
    oracle: false,
    refused: /more than one SAN URI iris-name/,
    make: async () => {
      const root = await issueRoot();
      const extensions = [usage(digitalSignature), uris("iris-name://hd-1", "iris-name://hd-2")];
      return { roots: [root], signer: await issue({ name: "hd-1", issuer: root, extensions }) };
    },
  },
  {
    what: "an intermediate that signs records itself",
    oracle: false,
    refused: /is not trusted: it is a root or intermediate itself/,
    make: async () => {
      const root = await issueRoot();
      const extensions = [
        authority(),
        usage(keyCertSign | digitalSignature),
        names("hd-1", "sd-admin"),
      ];
      const between = await issue({ name: "between", issuer: root, extensions });
      const last = await ca("last", root);
      return { roots: [root], intermediates: [between, last], signer: between };
    },
  },
];

describe("the certificate zoo", () => {
  let folder = "";
  const openssl = spawnSync("openssl", ["version"]).status === 0;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "zoo-"));
  });
  afterAll(() => rm(folder, { recursive: true }));

  const pemOf = (all: Holder[]): string => all.map(({ pem }) => pem).join("");

  async function asOpenssl(
    roots: Holder[],
    intermediates: Holder[],
    signer: Holder,
  ): Promise<boolean> {
    const files = { roots: pemOf(roots), between: pemOf(intermediates), signer: signer.pem };
    for (const [name, pem] of Object.entries(files)) await writeFile(join(folder, name), pem);
    const more = intermediates.length > 0 ? ["-untrusted", "between"] : [];
    const args = ["verify", "-no-CApath", "-no-CAstore", "-CAfile", "roots", ...more, "signer"];
    return spawnSync("openssl", args, { cwd: folder }).status === 0;
  }

  it.each(ZOO)("judges $what [directory 4]", async ({ make, refused, oracle }) => {
    const { roots, intermediates = [], signer } = await make();
    const judgement = trusting(roots, intermediates).signer(signer.pem);
    if (refused) await expect(judgement).rejects.toThrow(refused);
    else expect(await judgement).toMatchObject({ name: "hd-1", groups: new Set(["sd-admin"]) });
    if (oracle && openssl) expect(await asOpenssl(roots, intermediates, signer)).toBe(!refused);
  });
});

describe("trust", () => {
  afterEach(() => {
    vi.useRealTimers();
  });

  it("takes the valid one of an intermediate's two forms, in any order", async () => {
    const root = await issueRoot("root", { from: -20 });
    const fresh = await ca("between", root);
    const { X509CertificateGenerator } = await import("@peculiar/x509");
    const old = await X509CertificateGenerator.create({
      subject: "CN=between",
      issuer: "CN=root",
      notBefore: new Date(Date.now() - 9e8),
      notAfter: new Date(Date.now() - 1e8),
      signingKey: root.keys.privateKey,
      publicKey: fresh.keys.publicKey,
      signingAlgorithm: { name: "ECDSA", hash: "SHA-256" } as never,
      extensions: [authority(), usage(keyCertSign)],
    });
    const stale = { ...fresh, certificate: old, pem: old.toString("pem") };
    const signer = await issueSigner("hd-1", fresh);
    await trusting([root], [stale, fresh]).signer(signer.pem);
    await trusting([root], [fresh, stale]).signer(signer.pem);
    await expect(trusting([root], [stale]).signer(signer.pem)).rejects.toThrow(/expired/);
  });

  it("ends with the first certificate of the chain that expires", async () => {
    const root = await issueRoot();
    const between = await issue({
      name: "between",
      issuer: root,
      until: 2,
      extensions: [authority(), usage(keyCertSign)],
    });
    const signer = await issueSigner("hd-1", between);
    const trust = trusting([root], [between]);
    await trust.signer(signer.pem);
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 1 * 86_400_000 });
    await trust.signer(signer.pem);
    vi.setSystemTime(Date.now() + 2 * 86_400_000);
    await expect(trust.signer(signer.pem)).rejects.toThrow(/these expired: CN=between/);
  });

  it("comes from files, of which the first block counts", async () => {
    const folder = await mkdtemp(join(tmpdir(), "trust-"));
    const [root, other] = [await issueRoot(), await issueRoot("other")];
    await writeFile(join(folder, "roots.crt"), `Bag Attributes\n${root.pem}${other.pem}`);
    const trust = await openTrust([join(folder, "roots.crt")], []);
    await trust.signer((await issueSigner("hd-1", root)).pem);
    await expect(trust.signer((await issueSigner("hd-1", other)).pem)).rejects.toThrow(
      /not trusted/,
    );
    await rm(folder, { recursive: true });
  });

  it.each(["/nowhere/root.crt", import.meta.filename])("cannot come from %s", async (file) => {
    await expect(openTrust([], [file])).rejects.toMatchObject({
      fault: "settings",
      message: expect.stringContaining(file),
    });
  });
});

describe("a certificate", () => {
  it("is the first PEM block, whatever follows", async () => {
    const other = await issueRoot();
    expect(parseSigner(SIGNER + other.pem).pem).toBe(SIGNER);
    expect(parseSigner(`${SIGNER}-----BEGIN CERTIFICATE-----\ngarbage`).pem).toBe(SIGNER);
    expect(parseSigner(SIGNER.replaceAll("\n", "\r\n")).pem).toBe(SIGNER);
  });

  const der = Buffer.from(SIGNER.replace(/-----[^-]+-----/g, ""), "base64");
  const block = (bytes: Buffer, label = "CERTIFICATE"): string =>
    `-----BEGIN ${label}-----\n${bytes.toString("base64")}\n-----END ${label}-----\n`;

  it.each([
    ["nothing", ""],
    ["words", "not a certificate"],
    ["half a block", SIGNER.slice(0, 300)],
    ["an empty block", block(Buffer.alloc(0))],
    ["another kind of block", block(der, "EC PRIVATE KEY")],
    ["another kind of block before it", block(der, "EC PARAMETERS") + SIGNER],
    ["random bytes", block(Buffer.from("3003020101ff", "hex"))],
    ["a short one", block(der.subarray(0, -1))],
    ["bytes behind it", block(Buffer.concat([der, Buffer.from([0])]))],
  ])("is not %s", (_, pem) => {
    expect(() => parseCertificate(pem)).toThrow(expect.objectContaining({ fault: "malformed" }));
  });

  it("with any byte bent is refused or read, and never a crash", async () => {
    const trust = trusting([await issueRoot()]);
    for (let i = 0; i < der.length; i++) {
      const bent = Buffer.from(der);
      bent[i] = (bent[i] ?? 0) ^ 0x15;
      await expect(trust.signer(block(bent))).rejects.toMatchObject({
        fault: expect.stringMatching(/^(malformed|forbidden)$/),
      });
    }
  });
});
