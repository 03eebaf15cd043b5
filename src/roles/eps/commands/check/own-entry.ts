import { needsReverseStream, type Route, routeTo } from "../../../../broker/route.ts";
import { type Finding, findingsOf } from "../../../../core/findings.ts";
import type { Entry } from "../../../../directory/entry.ts";
import { groupsThatMayCall, mayCall } from "../../../../directory/permissions.ts";
import type { EpsSettings } from "../../settings.ts";

const { ok, note, warning, problem } = findingsOf("operator");

export type Certificate = { file: string; fingerprint: string };
type Known = { entries: readonly Entry[]; certificates: readonly Certificate[] };
type Own = { name: string; types: ReadonlySet<string>; own: Entry };

/** Does what the directory says of us agree with our settings? Pure. */
export function* checkOwnEntry(
  { name, channels }: Pick<EpsSettings, "name" | "channels">,
  { entries, certificates }: Known,
): Generator<Finding> {
  const own = entries.find((entry) => entry.name === name);
  if (!own) {
    yield problem(
      `the directory has no entry for ${name}`,
      `Correct name, or let an administrator submit records of ${name}.`,
    );
    return;
  }
  yield ok(`the directory knows ${name}`);
  yield* checkPins(own, certificates);
  const types = new Set<string>(channels.map(({ type }) => type));
  yield* checkChannels({ name, types, own });
  yield* checkProxy({ name, types, own }, entries);
}

function* checkPins(own: Entry, certificates: readonly Certificate[]): Generator<Finding> {
  const pinned = own.certificates.filter(({ key_usage }) => key_usage === "encryption");
  for (const { file, fingerprint } of certificates) {
    if (pinned.some((each) => each.fingerprint === fingerprint)) {
      yield ok(`the certificate of ${file} is pinned`);
      continue;
    }
    yield problem(
      `the directory does not pin the certificate of ${file} for ${own.name}, so every peer refuses it`,
      `Let an administrator submit a record of ${own.name}, section certificates, with key_usage encryption and fingerprint ${fingerprint}.`,
    );
  }
}

function* checkChannels({ name, types, own }: Own): Generator<Finding> {
  const route = routeTo(own);
  const listed = new Set(own.channels.map(({ type }) => type));
  if (listed.has("grpc_server") && !route) {
    yield problem(
      `the directory's channel grpc_server of ${name} has no usable address`,
      'Let an administrator submit its channels with settings: {"address": "host:port"}.',
    );
  }
  if (route && !types.has("grpc_server")) {
    yield problem(
      `the directory says that ${name} has a gRPC server, and the settings have none`,
      "Add a channel of type grpc_server to the settings, or have it taken from the directory.",
    );
  }
  if (!route && types.has("grpc_server")) {
    yield note(
      `the directory names no gRPC server of ${name}, so nobody dials it`,
      "If others shall dial it, let an administrator submit its channels with a grpc_server.",
    );
  }
  if (listed.has("grpc_client") && !types.has("grpc_client")) {
    yield warning(
      `the directory says that ${name} can dial others, and the settings have no grpc_client`,
      "Add a channel of type grpc_client to the settings, or have it taken from the directory.",
    );
  }
  if (!listed.has("grpc_client") && types.has("grpc_client")) {
    yield note(
      `the directory does not say that ${name} can dial others, so they keep reverse streams to it`,
      "If you did not mean that, let an administrator add a grpc_client to its channels.",
    );
  }
  if (!types.has("jsonrpc_client") && !types.has("stdout")) {
    yield note(
      `no service takes the calls for ${name}, but for those that the endpoint answers itself`,
      "To offer a service, add a channel of type jsonrpc_client that leads to it.",
    );
  }
}

/** Whoever is behind a proxy must hear from it, by a stream that we keep to its endpoint. */
function* checkProxy({ name, types, own }: Own, entries: readonly Entry[]): Generator<Finding> {
  const route = routeTo(own);
  if (!route || route.proxy === "") return;
  const proxy = entries.find((entry) => entry.name === route.proxy);
  if (!proxy) {
    yield problem(
      `the directory names ${route.proxy} as proxy of ${name}, and does not know it`,
      "Let an administrator correct the proxy, or submit the proxy's records.",
    );
    return;
  }
  const failures = [
    !isDialable(routeTo(proxy)) && {
      what: `${proxy.name}, the proxy of ${name}, cannot be dialled itself`,
      fix: `Let an administrator give ${proxy.name} a grpc_server without a proxy.`,
    },
    !mayCall(proxy, own, "_connectionRequest") && {
      what: `${proxy.name} may not call ${name}._connectionRequest, so it cannot fetch ${name} to a caller`,
      fix: `Let an administrator permit it to a group of ${proxy.name} in the services of ${name}.`,
    },
    !types.has("grpc_client") && {
      what: `${name} is behind a proxy, and without a grpc_client it cannot keep the reverse stream there`,
      fix: "Add a channel of type grpc_client to the settings.",
    },
  ].filter((each) => each !== false);
  for (const { what, fix } of failures) yield problem(what, fix);
  if (failures.length > 0) return;
  if (needsReverseStream(own, proxy, groupsThatMayCall(own))) {
    yield ok(`${proxy.name} fetches ${name} by the reverse stream that it keeps there`);
  }
}

export function isDialable(route: Route | undefined): route is Route {
  return route !== undefined && !route.internal && route.proxy === "";
}
