import * as z from "zod";
import { Fault } from "../../core/fault.ts";
import type { Client } from "./client.ts";

const Allowed = z.object({ allowed_domains: z.array(z.string().regex(/^\.?[a-zA-Z0-9.-]+$/)) });

/**
 * Throws unless the directory allows the operator to announce this domain at `proxy` (eps-protocol
 * 7.1): `.example.com` covers every name below example.com, `example.com` that name alone. Domains
 * are compared label by label, so neither covers `evil-example.com`.
 */
export function mayAnnounce({ entry }: Client, domain: string, proxy: string): void {
  const section = entry.settings?.find(
    ({ service, operator }) => ["proxy", ""].includes(service) && [proxy, ""].includes(operator),
  );
  if (!section) throw new Fault("forbidden", "not authorized");
  const { success, data } = Allowed.safeParse(section.settings);
  if (!success) throw new Fault("settings", "invalid directory settings");
  const { allowed_domains } = data;
  if (allowed_domains.some((allowed) => covers(allowed.toLowerCase(), domain.toLowerCase())))
    return;
  throw new Fault("forbidden", "not allowed to forward this domain", {
    detail: {
      allowed_domains,
      reason: `none of these covers ${domain}: ".example.com" covers the names below example.com, "example.com" that name alone, and neither covers evil-example.com`,
    },
  });
}

function covers(allowed: string, domain: string): boolean {
  return allowed.startsWith(".") ? domain.endsWith(allowed) : domain === allowed;
}
