import { visible } from "../../../core/terminal.ts";
import type { AppliedRecord, Entry, PermissionEntry } from "../../../directory/entry.ts";
import type { ChangeRecord } from "../../../directory/record.ts";
import { parseSigner } from "../../../directory/x509.ts";

/** Entries of the directory in lines for people. Whatever differs in an entry differs in its lines. */

export type Section = ChangeRecord["section"];

export const SECTIONS: readonly Section[] = [
  "groups",
  "channels",
  "services",
  "certificates",
  "settings",
  "preferences",
];

/** One line for each thing that a section says; permissions of a service are repeated at each method. */
export function linesOf(section: Section, entry: Entry): string[] {
  return linesOfAnySection(section, entry).map(visible);
}

function linesOfAnySection(section: Section, entry: Entry): string[] {
  switch (section) {
    case "groups":
      return entry.groups;
    case "channels":
      return entry.channels.map(({ type, settings }) => join(type, json(settings)));
    case "services":
      return entry.services.flatMap((service) => {
        const whole = `${service.name}: ${callers(service.permissions)}`;
        return [
          whole,
          ...service.methods.map(({ name, permissions, parameters }) =>
            join(`${service.name}.${name}: ${callers(permissions)}`, json(parameters)),
          ),
        ];
      });
    case "certificates":
      return entry.certificates.map(({ key_usage, fingerprint }) => join(key_usage, fingerprint));
    case "settings":
      return entry.settings.map(({ settings, ...scope }) => join(scopeOf(scope), json(settings)));
    case "preferences":
      return (entry.preferences ?? []).map(({ preferences, ...scope }) =>
        join(scopeOf(scope), json(preferences)),
      );
  }
}

/** The groups that may call, in words. */
export function callers(permissions: readonly PermissionEntry[]): string {
  const groups = permissions.map(({ group, rights }) => {
    const who = group === "*" ? "everybody" : group || '""';
    return rights.includes("call") ? who : `${who} (without the right to call)`;
  });
  return groups.join(", ") || "nobody";
}

/** Who signed a record; records of a directory on disk are not signed. */
export function signerOf({ signature }: AppliedRecord): string {
  return signature ? visible(parseSigner(signature.c).name) : "nobody";
}

type Scope = { operator: string; service: string; environment: string };

function scopeOf({ operator, service, environment }: Scope): string {
  const parts = [operator && `at ${operator}`, service && `service ${service}`];
  return (
    [...parts, environment && `environment ${environment}`].filter(Boolean).join(", ") || "all"
  );
}

function json(value: unknown): string {
  return value === null || value === undefined ? "" : JSON.stringify(value);
}

function join(...parts: string[]): string {
  return parts.filter(Boolean).join("  ");
}
