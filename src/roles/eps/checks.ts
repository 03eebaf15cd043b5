import { X509Certificate } from "node:crypto";
import { noMatch, pinnedNames } from "../../broker/identity.ts";
import { routeTo } from "../../broker/route.ts";
import type { Directory } from "../../directory/directory.ts";
import { readPem } from "../../net/pem.ts";
import { leafOf } from "../../net/tls.ts";
import { atMostEvery, type Readiness } from "../../rpc/readiness.ts";

const READ_EVERY_MS = 1_000;

type Endpoint = {
  self: string;
  directory: Directory;
  /** The files by which we prove who we are to other operators. */
  certificates: readonly string[];
  streams: { isOpen(operator: string): boolean } | undefined;
};

/** Would calls of this operator, and calls to it, succeed now? */
export function addChecks(readiness: Readiness, endpoint: Endpoint): void {
  const { self, directory, certificates, streams } = endpoint;

  readiness.add("directory", () => {
    if (directory.entry(self)) return undefined;
    return directory.entries().length === 0
      ? "the directory has not been read yet, or it is empty"
      : `the directory has no entry for ${self}`;
  });

  readiness.add(
    "certificates",
    atMostEvery(READ_EVERY_MS, async () => {
      for (const file of certificates) {
        const why = whyUseless(await readPem(file), endpoint);
        if (why !== undefined) return `${file}: ${why}`;
      }
      return undefined;
    }),
  );

  readiness.add("reachable", () => {
    const proxy = routeTo(directory.entry(self))?.proxy ?? "";
    if (proxy === "" || streams?.isOpen(proxy)) return undefined;
    return `others reach us through ${proxy} alone, and no reverse stream to it is open`;
  });
}

function whyUseless(pem: string, { self, directory }: Endpoint): string | undefined {
  const certificate = new X509Certificate(pem);
  const now = Date.now();
  if (now > Date.parse(certificate.validTo)) return `expired on ${certificate.validTo}`;
  if (now < Date.parse(certificate.validFrom)) return `not valid until ${certificate.validFrom}`;
  const leaf = leafOf(certificate.toLegacyObject());
  if (!leaf) return "no certificate";
  const names = pinnedNames(directory, leaf);
  return names.includes(self) ? undefined : noMatch(leaf, names, self);
}
