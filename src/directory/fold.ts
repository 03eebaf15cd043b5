import {
  type AppliedRecord,
  type Entry,
  emptyEntry,
  type ParameterEntry,
  type PreferencesEntry,
  type ServiceEntry,
} from "./entry.ts";
import type { ChangeRecord } from "./record.ts";

/**
 * Records → entries. Pure: nothing that went in is changed.
 *
 * A record replaces one section of one entry and is remembered by it; an entry begins with the first
 * record about it (eps-protocol 8.11). Whether a record may be believed is not asked here.
 */
export function fold(
  entries: ReadonlyMap<string, Entry>,
  records: Iterable<AppliedRecord>,
): Map<string, Entry> {
  const next = new Map(entries);
  for (const applied of records) {
    const { name } = applied.record;
    const before = next.get(name) ?? emptyEntry(name);
    next.set(name, {
      ...before,
      ...changed(applied.record),
      records: [...before.records, applied],
    });
  }
  return next;
}

/** The new section, with a null wherever the original has one. */
function changed(record: ChangeRecord): Partial<Entry> {
  switch (record.section) {
    case "channels":
      return { channels: record.data.map(({ type, settings = null }) => ({ type, settings })) };
    case "services":
      return { services: record.data.map(service) };
    case "preferences":
      return { preferences: record.data.map(preference) };
    case "certificates":
      return { certificates: record.data };
    case "settings":
      return { settings: record.data };
    case "groups":
      return { groups: record.data };
  }
}

type DataOf<Section> = Extract<ChangeRecord, { section: Section }>["data"][number];

function service({ name, permissions, methods }: DataOf<"services">): ServiceEntry {
  return {
    name,
    permissions,
    methods: methods.map((method) => ({
      name: method.name,
      permissions: method.permissions,
      parameters: method.parameters?.map(parameter) ?? null,
    })),
  };
}

type MethodData = DataOf<"services">["methods"][number];
type ParameterData = NonNullable<MethodData["parameters"]>[number];

function parameter({ name, validators }: ParameterData): ParameterEntry {
  return {
    name,
    validators: validators?.map(({ type, parameters = null }) => ({ type, parameters })) ?? null,
  };
}

/** Said as `settings` in a record and as `preferences` in an entry; the original loses it in between. */
function preference({
  operator,
  service,
  environment,
  settings,
}: DataOf<"preferences">): PreferencesEntry {
  return { operator, service, environment, preferences: settings };
}
