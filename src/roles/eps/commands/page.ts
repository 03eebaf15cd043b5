import { routeTo } from "../../../broker/route.ts";
import { columns, styled, visible } from "../../../core/terminal.ts";
import type { Entry } from "../../../directory/entry.ts";
import { mayCall } from "../../../directory/permissions.ts";
import { callers, linesOf, signerOf } from "./describe.ts";

/** One operator as a page: who it is, how it is reached, what it offers to whom, and who says so. */
export function entryPage(entry: Entry, everybody: readonly Entry[]): string[] {
  const [first] = entry.records;
  const last = entry.records.at(-1);
  const facts = [
    ["groups", visible(entry.groups.join(", ")) || "none"],
    ["reached", reachedAt(entry)],
    ["since", first ? `${first.record.created_at}, signed by ${signerOf(first)}` : "unknown"],
    ["changed", last ? `${last.record.created_at}, signed by ${signerOf(last)}` : "never"],
  ];
  return [
    styled("bold", visible(entry.name)),
    ...columns(facts.map(([label = "", text = ""]) => [`  ${label}`, text])),
    ...part("may be called", services(entry, everybody)),
    ...part("certificates", certificates(entry)),
    ...part("channels", linesOf("channels", entry)),
    ...part("settings", linesOf("settings", entry)),
    ...part("preferences", linesOf("preferences", entry)),
    ...part("records", records(entry)),
  ];
}

function part(title: string, lines: string[]): string[] {
  if (lines.length === 0) return [];
  return ["", styled("bold", `  ${title}`), ...lines.map((line) => `    ${line}`)];
}

function reachedAt(entry: Entry): string {
  const route = routeTo(entry);
  const dials = entry.channels.some(({ type }) => type === "grpc_client");
  const alone = dials ? "" : "; it does not dial others";
  if (!route) return `by the reverse streams that it keeps to others${alone}`;
  const { address, proxy, internal } = route;
  const hidden = internal ? ", only from inside" : "";
  return visible(`${proxy ? `through ${proxy}` : `at ${address}`}${hidden}${alone}`);
}

/** Every method with the groups that may call it, and the operators who are in them now. */
function services(entry: Entry, everybody: readonly Entry[]): string[] {
  const rows = entry.services.flatMap((service) =>
    service.methods.map(({ name, permissions }) => {
      const allowed = everybody.filter((other) => other !== entry && mayCall(other, entry, name));
      return [
        visible(name),
        visible(`by ${callers([...service.permissions, ...permissions])}`),
        visible(`now ${allowed.map((other) => other.name).join(", ") || "nobody"}`),
        visible(`service ${service.name}`),
      ];
    }),
  );
  return columns(rows);
}

function certificates({ certificates }: Entry): string[] {
  return columns(
    certificates.map(({ key_usage, fingerprint }) => [visible(key_usage), visible(fingerprint)]),
  );
}

function records({ records }: Entry): string[] {
  const rows = records.map((each) => {
    const { created_at, section } = each.record;
    return [created_at, section, `signed by ${signerOf(each)}`, each.hash];
  });
  return columns(rows);
}
