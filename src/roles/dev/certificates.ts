/**
 * A town's worth of certificates for development: the operators of `settings/dev`, the authority
 * above them, and the records that tell the directory which certificates are theirs.
 */
import { createHash } from "node:crypto";
import { cp, mkdir, readdir, rename, rm, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import type { X509Certificate } from "@peculiar/x509";
import { explain, Fault } from "../../core/fault.ts";
import {
  type Issued,
  type KeyKind,
  makeIntermediate,
  makeRoot,
  makeSigningLeaf,
  makeTlsLeaf,
  privateKeyPem,
} from "./issue.ts";

const OPERATORS = [
  "op-1",
  "op-2",
  "hd-1",
  "hd-2",
  "ls-1",
  "internal-server",
  "public-proxy-1.ga",
  "private-proxy-1.ga",
  "sd-1",
  "demo-app",
];
/** Who may do more than others: a service directory asks for this group. */
const GROUPS: Record<string, string> = { "hd-1": "sd-admin" };

const RECORDS = "002_certificates.json";

type Folders = { certs: string; directory: string };
type Options = { keys: KeyKind; force: boolean };

/**
 * Writes a complete set to `certs` and its fingerprints to `directory`, or leaves both as they were.
 * Everything is made in a folder beside `certs` first; whoever interrupts that has lost nothing.
 */
export async function makeCertificates(
  { certs, directory }: Folders,
  { keys, force }: Options,
  tell: (line: string) => void,
): Promise<void> {
  const replacing = (await namesIn(certs)).some(isOurs);
  if (replacing && !force) {
    throw new Fault(
      "conflict",
      `${certs} already holds certificates; replace them with --force (make certs FORCE=1)`,
    );
  }
  const made = new Date();
  tell(`making an authority and certificates for ${OPERATORS.length} operators (${keys})`);
  const root = await makeRoot(keys, made);
  const issuer = await makeIntermediate(keys, made, root);
  const operators = await Promise.all(
    OPERATORS.map(async (name) => {
      const operator = await makeOperator(name, keys, made, issuer);
      tell(`  ${name}`);
      return operator;
    }),
  );
  try {
    await replaceFolder(certs, [
      ...filesOf("root", root, "pkcs8"),
      ...filesOf("intermediate", issuer, "pkcs8"),
      ...operators.flatMap((operator) => operatorFiles(operator, issuer)),
    ]);
    await replaceRecords(
      directory,
      operators.map((operator) => recordOf(operator, made)),
    );
  } catch (reason) {
    throw new Fault("settings", `the certificates could not be written: ${explain(reason)}`, {
      cause: reason,
    });
  }
  const until = issuer.certificate.notAfter.toISOString().slice(0, 10);
  tell(`wrote ${certs} and ${join(directory, RECORDS)}; valid until ${until}`);
  if (replacing) {
    tell(
      "records signed with the old keys are no longer valid: remove the data folder of every sd and proxy, then submit the directory again",
    );
  }
}

/** What is pinned in the directory, and for each a twin that is not, for tests of the pins. */
type Operator = { name: string; tls: Issued; alt: Issued; sign: Issued; signAlt: Issued };

async function makeOperator(
  name: string,
  keys: KeyKind,
  made: Date,
  issuer: Issued,
): Promise<Operator> {
  const group = GROUPS[name] ?? "";
  const [tls, alt, sign, signAlt] = await Promise.all([
    makeTlsLeaf(name, keys, made, issuer),
    makeTlsLeaf(name, keys, made, issuer),
    makeSigningLeaf(name, group, made, issuer),
    makeSigningLeaf(name, group, made, issuer),
  ]);
  return { name, tls, alt, sign, signAlt };
}

type File = { name: string; text: string; mode: number };

function operatorFiles({ name, tls, alt, sign, signAlt }: Operator, issuer: Issued): File[] {
  return [
    ...filesOf(name, tls, "pkcs8", issuer),
    ...filesOf(`${name}-alt`, alt, "pkcs8", issuer),
    ...filesOf(`${name}-sign`, sign, "sec1", issuer),
    ...filesOf(`${name}-sign-alt`, signAlt, "sec1", issuer),
  ];
}

/** A leaf travels with the intermediate, because the other side knows only the root. */
function filesOf(name: string, own: Issued, format: "pkcs8" | "sec1", issuer?: Issued): File[] {
  const chain = issuer ? [own, issuer] : [own];
  return [
    { name: `${name}.key`, text: privateKeyPem(own, format), mode: 0o600 },
    {
      name: `${name}.crt`,
      text: chain.map(({ certificate }) => `${certificate.toString("pem")}\n`).join(""),
      mode: 0o644,
    },
  ];
}

/** `certs` is swapped as a whole; what is neither key nor certificate in it stays. */
async function replaceFolder(certs: string, files: File[]): Promise<void> {
  const folder = resolve(certs);
  const fresh = `${folder}.new`;
  const old = `${folder}.old`;
  await Promise.all([fresh, old].map((each) => rm(each, { recursive: true, force: true })));
  await mkdir(fresh, { recursive: true });
  for (const { name, text, mode } of files) {
    await writeFile(join(fresh, name), text, { mode, flag: "wx" });
  }
  const others = (await namesIn(folder)).filter((name) => !isOurs(name));
  for (const name of others) await cp(join(folder, name), join(fresh, name), { recursive: true });

  await mkdir(folder, { recursive: true });
  await rename(folder, old);
  await rename(fresh, folder);
  await rm(old, { recursive: true, force: true });
}

function isOurs(name: string): boolean {
  return name.endsWith(".key") || name.endsWith(".crt");
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (reason) {
    if ((reason as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw reason;
  }
}

function recordOf({ name, sign, tls }: Operator, made: Date): unknown {
  return {
    section: "certificates",
    created_at: made.toISOString(),
    name,
    data: [
      { fingerprint: fingerprint(sign.certificate), key_usage: "signing" },
      { fingerprint: fingerprint(tls.certificate), key_usage: "encryption" },
    ],
  };
}

function fingerprint(certificate: X509Certificate): string {
  return createHash("sha256").update(Buffer.from(certificate.rawData)).digest("hex");
}

async function replaceRecords(directory: string, records: unknown[]): Promise<void> {
  await mkdir(directory, { recursive: true });
  // Not a name with `.json` in it, or an eps that reads the folder just now would read this too.
  const fresh = join(directory, ".002_certificates.new");
  await writeFile(fresh, `${JSON.stringify({ records }, null, 2)}\n`);
  await rename(fresh, join(directory, RECORDS));
}
