import type { JsonObject } from "../wire/json.ts";
import type { ChangeRecord, Signature } from "./record.ts";

/**
 * What is true of one operator now: the sum of the records about it.
 *
 * The keys, their order and every null are those of the original (eps-protocol 8.1), whose
 * validators refuse anything else.
 */
export type Entry = {
  name: string;
  groups: string[];
  channels: ChannelEntry[];
  services: ServiceEntry[];
  certificates: CertificateEntry[];
  /** What the administrators of the directory decided for this operator. */
  settings: SettingsEntry[];
  /** What the operator wishes; null until a record says something. */
  preferences: PreferencesEntry[] | null;
  records: AppliedRecord[];
  /** No record can set these. */
  properties: { displayName: string };
};

type ChannelEntry = { type: string; settings: JsonObject | null };
type CertificateEntry = { fingerprint: string; key_usage: string };
export type ServiceEntry = { name: string; permissions: PermissionEntry[]; methods: MethodEntry[] };
export type PermissionEntry = { group: string; rights: string[] };
type MethodEntry = {
  name: string;
  permissions: PermissionEntry[];
  parameters: ParameterEntry[] | null;
};
export type ParameterEntry = { name: string; validators: ValidatorEntry[] | null };
type ValidatorEntry = { type: string; parameters: JsonObject | null };
type SettingsEntry = Scope & { settings: JsonObject };

/** `settings` is there only in a client entry. */
export type PreferencesEntry = Scope & { preferences: JsonObject | null; settings?: JsonObject };

type Scope = { operator: string; service: string; environment: string };

/** A record that an entry was made from. Those of a directory on disk are not signed. */
export type AppliedRecord = {
  parent_hash: string;
  hash: string;
  signature: Signature | null;
  record: ChangeRecord;
};

export function emptyEntry(name: string): Entry {
  return {
    name,
    groups: [],
    channels: [],
    services: [],
    certificates: [],
    settings: [],
    preferences: null,
    records: [],
    properties: { displayName: "" },
  };
}

/**
 * The entry as it travels inside `_client` of a call.
 *
 * Its records stay home: with their certificates they outgrow the call. Original proxies want a
 * `settings` object in each of the preferences and refuse the caller otherwise (eps-protocol 6.6).
 */
export function clientEntry(entry: Entry): Entry {
  const preferences = entry.preferences?.map((each) => ({
    ...each,
    settings: each.preferences ?? {},
  }));
  return { ...entry, preferences: preferences ?? null, records: [] };
}
