import { appendFile, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Finding } from "../../../src/core/findings.ts";
import { checkTls, type TlsUse } from "../../../src/net/check-tls.ts";
import {
  makeIntermediate,
  makeRoot,
  makeTlsLeaf,
  privateKeyPem,
} from "../../../src/roles/dev/issue.ts";
import * as x509 from "../directory/authority.ts";
import { purposes } from "../directory/authority.ts";

const DAY_MS = 24 * 60 * 60 * 1_000;
/** Of leaves and intermediates, as `issue.ts` makes them. */
const LEAF_DAYS = 500;

let folder: string;
let root: Awaited<ReturnType<typeof makeRoot>>;
let between: Awaited<ReturnType<typeof makeIntermediate>>;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "check-tls-"));
  root = await makeRoot("ecdsa", new Date(Date.now() - DAY_MS * LEAF_DAYS));
  between = await makeIntermediate("ecdsa", new Date(), root);
  await writeFile(file("root.crt"), root.certificate.toString("pem"));
  const other = await makeRoot("ecdsa", new Date());
  await writeFile(file("other.crt"), other.certificate.toString("pem"));
});
afterAll(() => rm(folder, { recursive: true }));

const file = (name: string): string => join(folder, name);

/** Issues a certificate for hd-1 and says what a check finds in it. */
async function found(
  name: string,
  {
    made = new Date(),
    issuer = root,
    chain = true,
    ...more
  }: Partial<TlsUse["tls"]> & { made?: Date; issuer?: typeof root; chain?: boolean } = {},
  use: Partial<TlsUse> = {},
): Promise<Finding[]> {
  const leaf = await makeTlsLeaf("hd-1", "ecdsa", made, issuer);
  await writeFile(file(`${name}.crt`), `${leaf.certificate.toString("pem")}\n`);
  if (chain && issuer !== root) {
    await appendFile(file(`${name}.crt`), issuer.certificate.toString("pem"));
  }
  await writeFile(file(`${name}.key`), privateKeyPem(leaf, "pkcs8"));
  const tls = {
    ca_certificate_files: [file("root.crt")],
    certificate_file: file(`${name}.crt`),
    key_file: file(`${name}.key`),
    verify_client: true,
    request_client_cert: false,
    insecure_skip_verify: false,
    ...more,
  };
  return await list({ tls, where: "grpc_server", plays: "server", name: "hd-1", ...use });
}

async function list(use: TlsUse): Promise<Finding[]> {
  const findings: Finding[] = [];
  for await (const finding of checkTls(use)) findings.push(finding);
  return findings;
}

const problem = (what: string, fix = ""): unknown[] => [
  {
    severity: "problem",
    area: "certificates",
    what: expect.stringContaining(what),
    fix: expect.stringContaining(fix),
  },
];

describe("the check of a certificate", () => {
  it.each(["server", "client"] as const)("finds a good one good, for a %s", async (plays) => {
    const findings = await found(`good-${plays}`, {}, { plays });
    expect(findings).toMatchObject([{ severity: "ok" }]);
    expect(findings[0]?.what).toMatch(/good-\w+\.crt is good for hd-1 until \d{4}-\d\d-\d\d/);
  });

  it("finds one good that an intermediate signed, if that is in the same file", async () => {
    expect(await found("chain", { issuer: between })).toMatchObject([{ severity: "ok" }]);
    const lone = await found("lone", { issuer: between, chain: false });
    expect(lone).toEqual(problem("would be refused", "with what is between the two"));
  });

  it.each(["server", "client"] as const)(
    "sees that a %s's leads to another authority",
    async (plays) => {
      const stranger = { ca_certificate_files: [file("other.crt")] };
      expect(await found(`stranger-${plays}`, stranger, { plays })).toEqual(
        problem("would be refused", "an authority in ca_certificate_files"),
      );
    },
  );

  it("sees that it is for somebody else", async () => {
    expect(await found("other-name", {}, { name: "hd-2" })).toEqual(
      problem("does not match certificate's altnames", "DNS names include hd-2"),
    );
  });

  it("sees that it has expired, will soon, or is not valid yet", async () => {
    const ago = (days: number): Date => new Date(Date.now() - days * DAY_MS);
    expect(await found("old", { made: ago(LEAF_DAYS + 1) })).toEqual(
      problem("old.crt expired on", "Get a new certificate"),
    );
    expect(await found("ageing", { made: ago(LEAF_DAYS - 29) })).toMatchObject([
      { severity: "warning", what: expect.stringContaining("expires on") },
      { severity: "ok" },
    ]);
    expect(await found("young", { made: ago(LEAF_DAYS - 31) })).toMatchObject([{ severity: "ok" }]);
    expect(await found("early", { made: ago(-2) })).toEqual(
      problem("is valid only from", "Check the clock"),
    );
  });

  it("sees that the key is another's, or that a file is missing", async () => {
    await found("a");
    expect(await found("b", { key_file: file("a.key") })).toEqual(
      problem("do the two belong together?", "Correct the files"),
    );
    expect(await found("c", { certificate_file: file("none.crt") })).toEqual(
      problem("cannot read"),
    );
    expect(await found("d", { ca_certificate_files: [file("none.crt")] })).toEqual(
      problem("cannot read"),
    );
  });

  it("sees that it was made for another purpose", async () => {
    const issuer = await x509.issueRoot("purposes");
    const holder = await x509.issue({
      name: "hd-1",
      issuer,
      extensions: [purposes("1.3.6.1.5.5.7.3.2" /* clientAuth */), x509.names("hd-1")],
    });
    await writeFile(file("purposes.crt"), issuer.pem);
    await writeFile(file("client.crt"), holder.pem);
    await writeFile(file("client.key"), holder.key.export({ type: "pkcs8", format: "pem" }));
    const files = {
      ca_certificate_files: [file("purposes.crt")],
      certificate_file: file("client.crt"),
      key_file: file("client.key"),
    };
    expect(await found("x", files, { plays: "client" })).toMatchObject([
      { severity: "warning", what: expect.stringContaining("expires on") },
      { severity: "warning" },
      { severity: "ok" },
    ]);
    expect((await found("x", files, { plays: "server" })).at(-1)).toEqual(
      problem("would be refused", "for this purpose")[0],
    );
  });

  it("tells of settings that believe anybody", async () => {
    expect(await found("skip", { insecure_skip_verify: true }, { plays: "client" })).toMatchObject([
      { severity: "warning", what: expect.stringContaining("believes anybody") },
      { severity: "ok" },
    ]);
    expect(await found("open", { verify_client: false })).toMatchObject([
      { severity: "note", what: expect.stringContaining("anybody may connect") },
      { severity: "ok" },
    ]);
  });

  it("needs none of a client, and one of a server", async () => {
    const none = { certificate_file: undefined, key_file: undefined };
    expect(await found("none", none, { plays: "client" })).toEqual([]);
    expect(await found("none", none)).toEqual(problem("there is no certificate"));
  });
});
