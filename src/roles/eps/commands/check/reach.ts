import { routeTo } from "../../../../broker/route.ts";
import { explain } from "../../../../core/fault.ts";
import { type Finding, type Findings, findingsOf } from "../../../../core/findings.ts";
import type { Entry } from "../../../../directory/entry.ts";
import { knock, knockByTls, leafIn, ownAddress } from "../../../../net/knock.ts";
import type { TlsSettings } from "../../../../net/settings.ts";
import { readTls, type TlsMaterial } from "../../../../net/tls.ts";
import { checkOwnServer } from "../../../../rpc/jsonrpc/check-own.ts";
import type { EpsSettings } from "../../settings.ts";
import { isDialable } from "./own-entry.ts";

const { ok, note, warning, problem } = findingsOf("reachability");
/** A directory may have thousands of operators; these many show whether dialling works. */
const PEERS_MAX = 50;

/** Do our own doors answer, and those of the operators whom we would dial? */
export async function* checkReach(
  settings: EpsSettings,
  entries: readonly Entry[],
  signal: AbortSignal,
): Findings {
  const { name, channels } = settings;
  for (const channel of channels) {
    if (channel.type === "jsonrpc_server") {
      const own = { method: `${name}._ping`, start: "eps server run" };
      yield await checkOwnServer(channel.settings, own, signal);
    }
    if (channel.type === "grpc_server") yield* checkGrpcServer(channel.settings, name, signal);
    if (channel.type === "jsonrpc_client") yield* checkBackend(channel.settings.endpoint, signal);
  }
  const client = channels.find((channel) => channel.type === "grpc_client");
  if (!client) return;
  const material = await readTls(client.settings.tls).catch(() => undefined);
  if (!material) return; // told with the certificates
  const own = entries.find((entry) => entry.name === name);
  const proxy = routeTo(own)?.proxy;
  const peers = entries.filter((entry) => entry !== own && isDialable(routeTo(entry)));
  const first = peers.filter((peer) => peer.name === proxy);
  const asked = [...first, ...peers.filter((peer) => peer.name !== proxy)].slice(0, PEERS_MAX);
  const found = asked.map((peer) => checkPeer(peer, material, peer.name === proxy, signal));
  for (const finding of found) yield await finding;
  if (peers.length > asked.length) {
    yield note(`${peers.length - asked.length} more operators were not dialled`);
  }
}

async function* checkGrpcServer(
  { bind_address, tls }: { bind_address: string; tls: TlsSettings },
  name: string,
  signal: AbortSignal,
): Findings {
  const what = `our gRPC server at ${bind_address}`;
  const material = await readTls(tls).catch(() => undefined);
  if (!material || !tls.certificate_file) return; // told with the certificates
  const address = ownAddress(bind_address);
  try {
    await knock(address, signal);
  } catch (reason) {
    yield note(
      `${what} does not answer: ${explain(reason)}`,
      "Start the endpoint by `eps server run`, unless it is meant to be stopped.",
    );
    return;
  }
  try {
    const shown = await knockByTls(address, { material, name }, signal);
    const ours = await leafIn(tls.certificate_file);
    if (shown?.fingerprint === ours?.fingerprint) yield ok(`${what} answers`);
    else {
      yield warning(
        `${what} shows another certificate than the one in ${tls.certificate_file}`,
        "Let the endpoint read its certificate again.",
      );
    }
  } catch (reason) {
    yield problem(
      `${what} is not ours, or would be refused: ${explain(reason)}`,
      "See which program listens there, and whether its certificate is good.",
    );
  }
}

async function* checkBackend(endpoint: string | undefined, signal: AbortSignal): Findings {
  if (!endpoint) return;
  const { hostname, port, protocol, host } = new URL(endpoint);
  const address = `${hostname}:${port || (protocol === "https:" ? 443 : 80)}`;
  try {
    await knock(address, signal);
    yield ok(`our service at ${host} answers`);
  } catch (reason) {
    yield warning(
      `our service at ${host} does not answer: ${explain(reason)}`,
      "Start the service, or correct the endpoint of the channel jsonrpc_client.",
    );
  }
}

/** An operator who cannot be reached is a problem only if it is the proxy on whom we depend. */
async function checkPeer(
  peer: Entry,
  material: TlsMaterial,
  ours: boolean,
  signal: AbortSignal,
): Promise<Finding> {
  const { name, certificates } = peer;
  const address = routeTo(peer)?.address ?? "";
  const who = ours ? `${name}, our proxy,` : name;
  const bad = ours ? problem : warning;
  try {
    const leaf = await knockByTls(address, { material, name }, signal);
    const pinned = certificates.some(
      ({ key_usage, fingerprint }) =>
        key_usage === "encryption" && fingerprint === leaf?.fingerprint,
    );
    if (pinned) return ok(`${who} answers at ${address}`);
    return bad(
      `${who} shows at ${address} a certificate that the directory does not pin for it`,
      `Do not use it before ${name} has explained that; a renewed certificate needs a record.`,
    );
  } catch (reason) {
    return bad(
      `${who} cannot be reached at ${address}: ${explain(reason)}`,
      `Ask ${name} whether it runs there; if it does, let your firewall pass TCP to ${address}.`,
    );
  }
}
