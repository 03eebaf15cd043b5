import "reflect-metadata"; // must be loaded before x509
import { createHash, X509Certificate } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as x509 from "@peculiar/x509";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { TlsSettings } from "../../src/net/settings.ts";
import { type BothPorts, openBothPorts } from "../support/both-ports.ts";
import { MemoryDirectory, operator } from "../support/directory.ts";
import { send } from "../support/http.ts";
import { call } from "../support/jsonrpc-servers.ts";
import {
  authority,
  cRLSign,
  digitalSignature,
  type Holder,
  issue,
  issueRoot,
  keyCertSign,
  purposes,
  usage,
  type Wish,
} from "../unit/directory/authority.ts";

const SELF = "hd-1";
const names = (...values: string[]) =>
  new x509.SubjectAlternativeNameExtension(values.map((value) => ({ type: "dns", value })));
const alternatives = (...list: x509.JsonGeneralNames) =>
  new x509.SubjectAlternativeNameExtension(list);
const pem = ({ keys: _, key, ...holder }: Holder, ...chain: Holder[]) => ({
  cert: [holder, ...chain].map((each) => each.pem).join(""),
  key: key.export({ type: "pkcs8", format: "pem" }).toString(),
});
const fingerprintOf = ({ certificate }: Holder): string =>
  createHash("sha256").update(Buffer.from(certificate.rawData)).digest("hex");
const pinned = (holder: Holder, key_usage: "encryption" | "signing" = "encryption") => ({
  key_usage,
  fingerprint: fingerprintOf(holder),
});

let folder: string;
let root: Holder;
let intermediate: Holder;
let good: Holder;
let both: BothPorts;
let directory: MemoryDirectory;
let known: Record<"signing" | "other" | "revoked" | "ofOther", Holder>;

const leaf = (wish: Partial<Wish> = {}): Promise<Holder> =>
  issue({ name: SELF, issuer: intermediate, extensions: [names(SELF)], ...wish });

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "eps-zoo-"));
  root = await issueRoot("zoo root");
  intermediate = await issueRoot("zoo intermediate", { issuer: root });
  good = await leaf();
  known = {
    signing: await leaf(),
    other: await issue({ name: "op-1", issuer: intermediate, extensions: [names("op-1")] }),
    revoked: await leaf(),
    // Valid for us by its names, but the directory says that it is op-2's.
    ofOther: await issue({ name: "op-2", issuer: intermediate, extensions: [names("op-2", SELF)] }),
  };
  directory = new MemoryDirectory(
    operator(SELF, { certificates: [pinned(good), pinned(known.signing, "signing")] }),
    operator("op-1", { certificates: [pinned(known.other)] }),
    operator("op-2", { certificates: [pinned(known.ofOther)] }),
  );
  const files = { ...pem(good, intermediate), ca: root.pem };
  for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text);
  const tls = TlsSettings.parse({
    ca_certificate_files: [join(folder, "ca")],
    certificate_file: join(folder, "cert"),
    key_file: join(folder, "key"),
  });
  both = await openBothPorts(tls, { self: SELF, directory });
});
afterAll(async () => {
  await both[Symbol.asyncDispose]();
  await rm(folder, { recursive: true });
});

const critical = (oid: string, ...bytes: number[]) =>
  new x509.Extension(oid, true, new Uint8Array(bytes));
/** Permits only names below `other.`, in DER. */
const onlyOther = new x509.Extension(
  "2.5.29.30",
  true,
  Buffer.from("300ea00c300a8208.6f7468 65722e78".replaceAll(/[ .]/g, ""), "hex"),
);

/** From whom nothing may be taken: by what makes it wrong, the certificate and what is sent behind it. */
const ZOO: Record<string, () => Promise<Holder | Holder[]>> = {
  // Nobody whom we believe vouches for it.
  "signed by itself": () => issue({ name: SELF, extensions: [names(SELF)] }),
  "of another root": async () => {
    const other = await issueRoot("other root");
    return [await leaf({ issuer: other }), other];
  },
  "of another root with the name of ours": async () => {
    const twin = await issueRoot("zoo root");
    return [await leaf({ issuer: twin }), twin];
  },
  "of another intermediate with the name of ours": async () => {
    const twin = await issueRoot("zoo intermediate");
    return [await leaf({ issuer: twin }), intermediate];
  },
  "without the intermediate": async () => [await leaf()],
  "issued by a leaf": async () => [await leaf({ issuer: good }), good, intermediate],
  "issued by an authority without basic constraints": async () => {
    const issuer = await issue({ name: "i", issuer: root, extensions: [usage(keyCertSign)] });
    return [await leaf({ issuer }), issuer];
  },
  "issued by one that is no authority": async () => {
    const none = new x509.BasicConstraintsExtension(false, undefined, true);
    const issuer = await issue({ name: "i", issuer: root, extensions: [none, usage(keyCertSign)] });
    return [await leaf({ issuer }), issuer];
  },
  "issued by one that may not sign certificates": async () => {
    const extensions = [authority(), usage(cRLSign)];
    const issuer = await issue({ name: "i", issuer: root, extensions });
    return [await leaf({ issuer }), issuer];
  },
  "below more intermediates than allowed": async () => {
    const extensions = [authority(0), usage(keyCertSign)];
    const first = await issue({ name: "i1", issuer: root, extensions });
    const second = await issueRoot("i2", { issuer: first });
    return [await leaf({ issuer: second }), second, first];
  },
  "below an intermediate that has expired": async () => {
    const issuer = await issueRoot("i", { issuer: root, from: -9, until: -1 });
    return [await leaf({ issuer }), issuer];
  },
  "below an intermediate for other names": async () => {
    const extensions = [authority(), usage(keyCertSign), onlyOther];
    const issuer = await issue({ name: "i", issuer: root, extensions });
    return [await leaf({ issuer }), issuer];
  },
  expired: () => leaf({ from: -9, until: -1 }),
  "not valid yet": () => leaf({ from: 1 }),
  "for servers only": () => leaf({ extensions: [names(SELF), purposes("1.3.6.1.5.5.7.3.1")] }),
  "for mail only": () => leaf({ extensions: [names(SELF), purposes("1.3.6.1.5.5.7.3.4")] }),
  "for code only": () => leaf({ extensions: [names(SELF), purposes("1.3.6.1.5.5.7.3.3")] }),
  "for time stamps only": () => leaf({ extensions: [names(SELF), purposes("1.3.6.1.5.5.7.3.8")] }),
  "for OCSP only": () => leaf({ extensions: [names(SELF), purposes("1.3.6.1.5.5.7.3.9")] }),
  "for signing certificates only": () => leaf({ extensions: [names(SELF), usage(keyCertSign)] }),
  "for lists of revoked ones only": () => leaf({ extensions: [names(SELF), usage(cRLSign)] }),
  "with a critical extension that nobody knows": () =>
    leaf({ extensions: [names(SELF), critical("1.2.3.4.5", 5, 0)] }),

  // Vouched for, but not pinned.
  "not pinned": () => leaf(),
  "not pinned, of RSA": () => leaf({ rsa: true }),
  "not pinned, of another curve": () => leaf({ curve: "P-384" }),
  "not pinned, and an authority's": () =>
    issueRoot(SELF, { issuer: intermediate, extensions: [authority(), names(SELF)] }),
  "not pinned, for signatures": () => leaf({ extensions: [names(SELF), usage(digitalSignature)] }),
  "the intermediate's own": async () => intermediate,
  "pinned for signing": async () => known.signing,
  "pinned no longer": async () => known.revoked,
  "pinned for another": async () => known.other,
  "pinned for another, and with our name": async () => known.ofOther,
  "another's, with the pinned one behind it": async () => [known.other, good, intermediate],
  "not pinned, with the pinned one behind it": async () => [await leaf(), good, intermediate],
  "the same name in capitals": () => leaf({ name: "HD-1", extensions: [names("HD-1")] }),
  "a name with a dot behind it": () => leaf({ name: "hd-1.", extensions: [names("hd-1.")] }),
  "a name with a NUL in it": () => leaf({ name: "x", extensions: [names("hd-1\0.evil")] }),
  "a name with a space behind it": () => leaf({ name: "x", extensions: [names("hd-1 ")] }),
  "any name": () => leaf({ name: "*", extensions: [names("*", "hd-*", "*.ga")] }),
  "no name at all": () => leaf({ name: "", extensions: [] }),
  "two common names": () => leaf({ name: `evil, CN=${SELF}`, extensions: [] }),
  "a common name that looks like a list": () =>
    leaf({ name: `"DNS:${SELF}, DNS:x"`, extensions: [] }),
  "a DNS name that looks like a list": () =>
    leaf({ name: "x", extensions: [names(`a, DNS:${SELF}`)] }),
  "our name as an address on the web": () =>
    leaf({ name: "x", extensions: [alternatives({ type: "url", value: `x://${SELF}` })] }),
  "our name as an address of mail": () =>
    leaf({ name: "x", extensions: [alternatives({ type: "email", value: SELF })] }),
  "our name as a directory name": () =>
    leaf({ name: "x", extensions: [alternatives({ type: "dn", value: `CN=${SELF}` })] }),
  "a thousand names": () =>
    leaf({ extensions: [names(SELF, ...Array.from({ length: 1_000 }, (_, n) => `n${n}`))] }),
  "a very long name": () => leaf({ name: "x".repeat(60), extensions: [names("y".repeat(8_000))] }),
};

describe("a certificate", () => {
  it("is believed at both ports if the directory pins it for who shows it (T17)", async () => {
    const papers = { ...pem(good, intermediate), ca: root.pem };
    expect(await both.tryBoth(papers)).toEqual({ grpc: SELF, jsonrpc: SELF });
  });

  it("has a zoo of at least forty that must not be believed (T17)", () => {
    expect(Object.keys(ZOO).length).toBeGreaterThanOrEqual(40);
  });

  it.each(Object.entries(ZOO))("%s is not believed at either port (T17)", async (_, make) => {
    const made = await make();
    const [holder = good, ...chain] = Array.isArray(made) ? made : [made, intermediate];
    new X509Certificate(holder.pem); // that it can be read at all
    const papers = { ...pem(holder, ...chain), ca: root.pem };
    expect(await both.tryBoth(papers)).toEqual({ grpc: undefined, jsonrpc: undefined });
  });

  it("that is not there is not believed either (T17)", async () => {
    expect(await both.tryBoth({ ca: root.pem })).toEqual({ grpc: undefined, jsonrpc: undefined });
  });

  it("is what the handshake proved, whatever the headers say (T17)", async () => {
    const papers = { ...pem(known.other, intermediate), ca: root.pem, servername: SELF };
    const reply = await send(both.ports.jsonrpc, call(), {
      ...papers,
      headers: {
        "x-client-cert": encodeURIComponent(good.pem),
        "x-forwarded-client-cert": `Hash=${fingerprintOf(good)}`,
        "client-cert": `:${Buffer.from(good.certificate.rawData).toString("base64")}:`,
      },
    });
    // Says which was shown, whose it is, and what to do.
    expect(reply.text).toContain(fingerprintOf(known.other));
    expect(reply.text).toContain("pinned for op-1");
    expect(reply.text).toContain("allowed_clients");
  });

  it("is nobody's from the moment when the directory no longer pins it (T17)", async () => {
    const papers = { ...pem(good, intermediate), ca: root.pem };
    const before = directory.entry(SELF);
    directory.set(operator(SELF, { certificates: [pinned(known.revoked)] }));
    try {
      expect(await both.tryBoth(papers)).toEqual({ grpc: undefined, jsonrpc: undefined });
    } finally {
      if (before) directory.set(before);
    }
    expect(await both.tryBoth(papers)).toEqual({ grpc: SELF, jsonrpc: SELF });
  });
});
